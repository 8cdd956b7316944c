// Lines over time, with axes, hover values and zoom by dragging.

import { clock } from "./charts.js";
import { h, show, svg, visible } from "./dom.js";

const LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 22, HEIGHT = 320;
const COLOURS = 12; // .c0 to .c11 in page.css

export const colour = (at) => `c${at % COLOURS}`;

/**
 * Draw `lines` ({at, label, values}) into an element. `start` and `step` are milliseconds; `zoom(from, to)` is called
 * when a span has been dragged over.
 */
export function plot(element, lines, start, step, zoom) {
  if (from !== null && element.querySelector(".dragging")) return; // the next time
  from = null;
  const width = Math.max(320, element.clientWidth);
  const count = Math.max(0, ...lines.map(({ values }) => values.length));
  const [low, high, ticks] = scale(lines);
  const inner = width - LEFT - RIGHT, tall = HEIGHT - TOP - BOTTOM;
  const x = (at) => LEFT + (count > 1 ? (at / (count - 1)) * inner : inner / 2);
  const y = (value) => TOP + tall - ((value - low) / (high - low)) * tall;
  const end = start + (count - 1) * step;
  const grid = ticks.map((value) => [
    svg("line", { class: "grid-line", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, compact(value)),
  ]);
  const marks = times(start, end, step, width).map((at) => svg("text", {
    class: "tick", x: x((at - start) / step), y: HEIGHT - 6, "text-anchor": "middle",
  }, clock(at, end - start)));
  const paths = lines.map(({ at, values }) => svg("path", { class: `series ${colour(at)}`, d: path(values, x, y) }));
  const cursor = svg("g", { class: "cursor" });
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": "Values over time" },
    grid.flat(), marks, paths, cursor);
  const tip = h("div", { class: "tip", hidden: true });
  const look = listen(picture, tip, cursor, { lines, count, x, y, start, step, width, inner, zoom });
  show(element, picture, tip);
  look();
}

/** A path through the values; null is a gap, and a value alone a dot. */
function path(values, x, y) {
  let drawn = "", open = false;
  values.forEach((value, at) => {
    if (value === null) {
      open = false;
      return;
    }
    drawn += `${open ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`;
    if (!open) drawn += "h.01";
    open = true;
  });
  return drawn;
}

/** The least and greatest value of the axis, and its ticks: round numbers. */
function scale(lines) {
  let low = Infinity, high = -Infinity;
  for (const { values } of lines) {
    for (const value of values) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return [0, 1, [0, 1]];
  if (low >= 0 && (low < 0.7 * high || low === high)) low = 0;
  else if (low === high) [low, high] = [low * 1.1, low * 0.9];
  if (low === high) high = 1;
  else if (high > 0) high *= 1.02; // what lies on the edge is hard to see
  const raw = (high - low) / 5;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * size >= raw) * size;
  if (!Number.isFinite(step) || step <= 0) return [low, high, [low, high]];
  const first = Math.floor(low / step), last = Math.ceil(high / step);
  const ticks = Array.from({ length: Math.min(20, last - first + 1) }, (_, at) => (first + at) * step);
  return [ticks[0], ticks[ticks.length - 1], ticks];
}

/** Round times within a span. */
function times(start, end, step, width) {
  if (!(end > start)) return [start];
  const wanted = (end - start) / Math.max(2, Math.floor(width / 130));
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map((s) => s * 1000);
  const size = sizes.find((one) => one >= wanted) ?? Math.ceil(wanted / 86_400_000) * 86_400_000;
  const found = [];
  for (let at = Math.ceil(start / size) * size; at <= end; at += size) found.push(at);
  return found;
}

// Where the pointer is, and where it went down: the picture is drawn anew under it every other second.
let pointer = null;
let from = null;

function listen(picture, tip, cursor, it) {
  const place = (x) => {
    const box = picture.getBoundingClientRect();
    const ratio = ((x - box.left) * (it.width / box.width) - LEFT) / it.inner;
    return Math.round(Math.min(1, Math.max(0, ratio)) * (it.count - 1));
  };
  const look = () => {
    if (!it.count || pointer === null) return;
    const at = place(pointer);
    point(cursor, at, from, it);
    told(tip, at, it);
    const box = picture.getBoundingClientRect();
    const left = pointer - box.left;
    tip.style.left = `${left > box.width / 2 ? left - tip.offsetWidth - 18 : left + 18}px`;
    tip.style.top = `${TOP}px`;
  };
  const drop = () => {
    from = null;
    picture.classList.remove("dragging");
  };
  picture.addEventListener("pointermove", (event) => {
    pointer = event.clientX;
    look();
  });
  picture.addEventListener("pointerleave", () => {
    pointer = null;
    cursor.replaceChildren();
    tip.hidden = true;
  });
  picture.addEventListener("pointerdown", (event) => {
    from = place(event.clientX);
    picture.setPointerCapture(event.pointerId);
    picture.classList.add("dragging");
  });
  picture.addEventListener("pointerup", (event) => {
    const to = place(event.clientX), began = from;
    drop();
    if (began === null || Math.abs(to - began) < 2) return;
    it.zoom(it.start + Math.min(began, to) * it.step, it.start + Math.max(began, to) * it.step);
  });
  picture.addEventListener("pointercancel", drop);
  return look;
}

function point(cursor, at, from, { lines, x, y }) {
  const drawn = [svg("line", { class: "cursor-line", x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM })];
  if (from !== null) {
    drawn.push(svg("rect", { class: "span", x: x(Math.min(from, at)), y: TOP, width: Math.abs(x(at) - x(from)), height: HEIGHT - TOP - BOTTOM }));
  }
  for (const line of lines) {
    const value = line.values[at] ?? null;
    if (value !== null) drawn.push(svg("circle", { class: `dot ${colour(line.at)}`, cx: x(at), cy: y(value), r: 3.5 }));
  }
  cursor.replaceChildren(...drawn);
}

function told(tip, at, { lines, start, step }) {
  const there = lines.map((line) => ({ ...line, value: line.values[at] ?? null })).filter(({ value }) => value !== null)
    .sort((one, other) => other.value - one.value);
  const when = new Date(start + at * step);
  show(tip,
    h("div", { class: "when" }, `${when.toISOString().slice(0, 19).replace("T", " ")} UTC`),
    there.length ? there.slice(0, 15).map(({ at: number, label, value }) => h("div", { class: "entry" },
      h("i", { class: `swatch ${colour(number)}` }), h("bdi", {}, visible(label)), h("b", {}, exact(value)))) : h("div", { class: "empty" }, "no value here"),
    there.length > 15 ? h("div", { class: "empty" }, `and ${there.length - 15} more`) : null);
  tip.hidden = false;
}

/** A value in a few characters, for the axis. */
export function compact(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  for (const [unit, of] of [["P", 1e15], ["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (size >= of) return `${trim(value / (of === 1e4 ? 1e3 : of))}${unit}`;
  }
  return size < 1e-4 ? value.toExponential(1) : trim(value);
}

const trim = (value) => String(Number(value.toPrecision(4)));

/** A value as exactly as is of use. */
export const exact = (value) => (value === null ? "–" : Math.abs(value) >= 1e15 || (value !== 0 && Math.abs(value) < 1e-6)
  ? value.toExponential(4) : Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 8 }));

