// Draws a trace as a waterfall. Only the rows that can be seen are there, so that a trace may have many thousands.

import { h, number, svg, visible } from "./dom.js";
import { duration } from "./spantree.js";

const ROW = 24; // pixels
const WIDTH = 1000; // of the axis, in units of the drawing
const TICKS = 5;
const MOST_MARKS = 50; // events of a span that are marked

/** A view of rows (see spantree.js) in an element. `colours` names a class for each service, `pick` is told a row. */
export class Waterfall {
  constructor(element, { pick, colour }) {
    this.pick = pick;
    this.colour = colour;
    this.folded = new Set();
    this.rows = [];
    this.shown = [];
    this.chosen = -1;
    this.found = new Set();
    this.axis = h("div", { class: "w-axis" });
    this.window = h("div", { class: "w-window" });
    this.space = h("div", { class: "w-space" }, this.window);
    this.scroll = h("div", { class: "w-scroll", tabindex: 0, role: "tree", "aria-label": "Spans" }, this.space);
    this.scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    element.replaceChildren(this.axis, this.scroll);
  }

  /** Show a trace. */
  set(rows) {
    this.rows = rows;
    this.folded.clear();
    this.found.clear();
    this.chosen = -1;
    this.total = rows.reduce((most, { begin, took }) => Math.max(most, begin + took), 1);
    this.axis.replaceChildren(h("span", {}, "Service and operation"), h("div", { class: "w-ticks" },
      Array.from({ length: TICKS }, (_, at) => h("span", {}, duration(Math.round((this.total * at) / TICKS))))));
    this.fold();
  }

  /** Draw anew what is folded and what is not. */
  fold() {
    this.shown = [];
    for (let at = 0; at < this.rows.length; at++) {
      this.shown.push(at);
      if (this.folded.has(at)) at += this.rows[at].below;
    }
    this.space.style.height = `${this.shown.length * ROW}px`;
    this.draw();
  }

  foldAll(folded) {
    this.folded = new Set(folded ? this.rows.filter(({ below }) => below).map(({ at }) => at) : []);
    this.fold();
  }

  toggle(at, folded = !this.folded.has(at)) {
    if (!this.rows[at].below) return;
    if (folded) this.folded.add(at);
    else this.folded.delete(at);
    this.fold();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - 5);
    const last = Math.min(this.shown.length, first + Math.ceil((this.scroll.clientHeight || 600) / ROW) + 10);
    this.window.style.transform = `translateY(${first * ROW}px)`;
    this.window.replaceChildren(...this.shown.slice(first, last).map((at) => this.row(this.rows[at])));
  }

  row(row) {
    const { span, depth, at, below } = row;
    const failed = span.status.code === "error";
    const folded = this.folded.has(at);
    const name = h("span", { class: "w-name" },
      below ? h("button", { type: "button", class: "w-fold", "aria-label": folded ? "Expand" : "Collapse", onclick: (event) => { event.stopPropagation(); this.toggle(at); } }, folded ? "▸" : "▾") : h("i", { class: "w-fold" }),
      h("i", { class: `swatch ${this.colour(span.service)}` }),
      failed ? h("b", { class: "w-error", title: "This span failed" }, "!") : null,
      row.lost ? h("b", { class: "w-lost", title: row.lost }, "⤷") : null,
      h("bdi", { class: "w-service" }, visible(span.service)), h("bdi", {}, visible(span.name) || "(no name)"),
      folded ? h("small", {}, `+${number(below)}`) : null);
    name.style.paddingLeft = `min(${depth * 13}px, 55%)`;
    const element = h("div", {
      class: `w-row ${failed ? "failed" : ""} ${at === this.chosen ? "chosen" : ""} ${this.found.has(at) ? "found" : ""}`, role: "treeitem", "data-at": at,
      "aria-level": depth + 1, title: `${visible(span.service)}: ${visible(span.name)}\n${duration(row.took)}, ${duration(row.begin)} after the trace's start\n${span.kind}${failed ? `, failed ${visible(span.status.message)}` : ""}${row.lost ? `\n${row.lost}` : ""}`,
      onclick: () => this.choose(at),
    }, name, h("span", { class: "w-track" }, this.bar(row), this.label(row)));
    return element;
  }

  bar({ span, begin, took }) {
    const x = (begin / this.total) * WIDTH;
    const wide = Math.max(2, (took / this.total) * WIDTH);
    const start = BigInt(span.start_unix_nano);
    const marks = span.events.slice(0, MOST_MARKS).map((event) => {
      const at = x + (Number(BigInt(event.time_unix_nano) - start) / this.total) * WIDTH;
      return at >= 0 && at <= WIDTH ? svg("rect", { class: "w-mark", x: at - 0.75, y: 3, width: 1.5, height: 18 }) : null;
    });
    return svg("svg", { viewBox: `0 0 ${WIDTH} ${ROW}`, preserveAspectRatio: "none", class: this.colour(span.service), "aria-hidden": "true" },
      Array.from({ length: TICKS - 1 }, (_, at) => svg("line", { class: "w-grid", x1: ((at + 1) * WIDTH) / TICKS, x2: ((at + 1) * WIDTH) / TICKS, y1: 0, y2: ROW })),
      svg("rect", { class: "w-bar", x: Math.min(x, WIDTH - 2), y: 6, width: wide, height: 12, rx: 2 }), marks);
  }

  /** How long it took, beside the bar: behind it where there is room. */
  label({ begin, took }) {
    const end = (begin + took) / this.total;
    const element = h("small", { class: "w-took" }, duration(took));
    if (end < 0.85) element.style.left = `calc(${(100 * end).toFixed(2)}% + 6px)`;
    else if (begin / this.total > 0.12) element.style.right = `calc(${(100 - (100 * begin) / this.total).toFixed(2)}% + 6px)`;
    else {
      element.style.right = "6px";
      element.classList.add("inside");
    }
    return element;
  }

  /** Choose a row, unfold what hides it, and bring it into view. */
  choose(at) {
    if (at < 0 || at >= this.rows.length) return;
    for (let above = at, depth = this.rows[at].depth; above >= 0 && depth; above--) {
      if (this.rows[above].depth < depth) {
        depth = this.rows[above].depth;
        this.folded.delete(above);
      }
    }
    this.chosen = at;
    this.fold();
    const place = this.shown.indexOf(at);
    if (place * ROW < this.scroll.scrollTop) this.scroll.scrollTop = place * ROW;
    if ((place + 2) * ROW > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = (place + 2) * ROW - this.scroll.clientHeight;
    this.draw();
    this.pick(this.rows[at]);
  }

  /** Choose the next one shown. */
  move(by) {
    const place = this.shown.indexOf(this.chosen);
    this.choose(this.shown[Math.min(this.shown.length - 1, Math.max(0, place + by))] ?? -1);
  }

  /** Choose the next row that meets a condition, from the beginning again at the end. */
  next(meets) {
    for (let step = 1; step <= this.rows.length; step++) {
      const at = (this.chosen + step + this.rows.length) % this.rows.length;
      if (meets(this.rows[at])) return this.choose(at);
    }
  }

  mark(found) {
    this.found = found;
    this.draw();
  }
}
