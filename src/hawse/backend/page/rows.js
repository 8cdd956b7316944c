// The list of records, and the one that is open.

import { ask, url } from "./api.js";
import { $, bytes, h, middle, number, show, visible } from "./dom.js";
import { addFilter, exactly, remember } from "./state.js";

const MOST_ROWS = 1000;
const MOST_TEXT = 200_000; // characters of a body that are shown unasked
let chosen = null;

/** Show records instead of those that are there. */
export function replaceRows(records) {
  show($("rows"), records.length ? records.map(row) : h("p", { class: "empty" }, "No records."));
  chosen = null;
}

/** Add older records below. */
export const appendRows = (records) => $("rows").append(...records.map(row));

/** Add newly arrived records above; the last ones leave. */
export function prependRows(records) {
  const rows = $("rows");
  rows.querySelector(".empty")?.remove();
  rows.prepend(...records.map((record) => row(record, true)));
  while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
}

export const rowCount = () => $("rows").querySelectorAll(".row").length;

function level(record) {
  if (record.severity_number >= 17) return "error";
  if (record.severity_number >= 13) return "warn";
  return record.resource["log.iostream"] === "stderr" || record.attributes["log.iostream"] === "stderr" ? "stderr" : "";
}

function row(record, fresh = false) {
  const text = record.body.length > 2000 ? record.body.slice(0, 2000) : record.body;
  return h("div", {
    class: `row ${level(record)} ${fresh === true ? "fresh" : ""}`, role: "option", "data-id": record.id,
    onclick: () => open(record.id),
  },
    h("time", { datetime: record.time, title: record.time }, record.time.slice(0, 10) === today() ? record.time.slice(11, 23) : record.time.slice(0, 19).replace("T", " ")),
    h("span", { class: "source", title: record.source }, h("bdi", {}, middle(visible(record.source), 36))),
    h("span", { class: "body" }, h("bdi", {}, text ? visible(text) : h("i", {}, "empty"))));
}

const today = () => new Date().toISOString().slice(0, 10);

/** Move the choice by some rows, or to a record's row. */
export function move(by) {
  const rows = [...$("rows").querySelectorAll(".row")];
  if (!rows.length) return;
  const at = chosen ? rows.indexOf(chosen) : -1;
  choose(rows[Math.min(rows.length - 1, Math.max(0, at + by))]);
  if (!$("drawer").hidden) open(chosen.dataset.id);
}

function choose(element) {
  chosen?.classList.remove("chosen");
  chosen = element;
  chosen?.classList.add("chosen");
  chosen?.scrollIntoView({ block: "nearest" });
}

/** Open the chosen record. */
export const openChosen = () => chosen && open(chosen.dataset.id);

export async function open(id) {
  choose($("rows").querySelector(`.row[data-id="${CSS.escape(String(id))}"]`));
  const asked = new URLSearchParams({ id });
  const record = await ask("record", "logs/record", asked);
  if (!record) return;
  const drawer = $("drawer");
  show(drawer,
    h("div", { class: "head" },
      h("h2", {}, `Record ${number(record.id)}`),
      h("a", { href: url("logs/record", asked), target: "_blank" }, "JSON"),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: close }, "✕")),
    h("div", { class: "inside" }, traceOf(record), bodyOf(record), fieldsOf(record)));
  drawer.hidden = false;
  remember({ record: String(record.id) });
  document.body.classList.add("opened");
}

export function close() {
  $("drawer").hidden = true;
  remember({ record: "" });
  document.body.classList.remove("opened");
}

/** A way to the trace that a record names, in its field or in its body. */
function traceOf(record) {
  const named = /\btrace_?id"?\s*[=:]\s*"?([0-9a-f]{32})\b/i.exec(record.body.slice(0, MOST_TEXT));
  const id = record.trace_id || named?.[1].toLowerCase();
  return id ? h("p", {}, h("a", { href: `/?trace=${id}#traces` }, `Trace ${id} →`)) : null;
}

function bodyOf(record) {
  const pretty = prettyJson(record.body);
  const text = pretty ?? record.body;
  const shown = h("pre", { class: "text" }, h("bdi", {}, visible(text.slice(0, MOST_TEXT), { lines: true })));
  const size = new TextEncoder().encode(record.body).length;
  const all = text.length > MOST_TEXT
    ? h("button", { type: "button", onclick: (event) => { show(shown, visible(text, { lines: true })); event.target.remove(); } }, "Show all of it")
    : null;
  const copy = h("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard?.writeText(record.body) }, "Copy");
  return h("section", {},
    h("h3", {}, "Body", h("small", {}, `${bytes(size)}${record.body_type === "json" ? ", was no text" : pretty ? ", JSON" : ""}${record.body_base64 ? ", not all of it UTF-8" : ""}`), copy),
    shown, all);
}

function prettyJson(text) {
  if (!/^\s*[[{]/.test(text) || text.length > MOST_TEXT) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

function fieldsOf(record) {
  const own = [
    ["time", record.time],
    ["observed", record.observed_time_unix_nano === "0" ? "" : instant(record.observed_time_unix_nano)],
    ["received", record.received],
    ["severity_text", record.severity_text],
    ["severity_number", record.severity_number || ""],
    ["trace_id", record.trace_id],
    ["span_id", record.span_id],
    ["event_name", record.event_name],
    ["scope.name", record.scope.name],
    ["scope.version", record.scope.version],
  ].filter(([, value]) => value !== "");
  return [
    table("Record", own, (name) => (["time", "observed", "received"].includes(name) ? null : name)),
    table("Attributes", Object.entries(record.attributes), (name) => name),
    table("Resource", Object.entries(record.resource), (name) => name),
  ];
}

function instant(nanoseconds) {
  const value = BigInt(nanoseconds);
  const milliseconds = Number(value / 1_000_000n);
  if (milliseconds > 8.64e15) return nanoseconds;
  return new Date(milliseconds).toISOString().slice(0, 19) + "." + String(value % 1_000_000_000n).padStart(9, "0") + "Z";
}

function table(title, entries, fieldName) {
  if (!entries.length) return null;
  return h("section", {}, h("h3", {}, title), h("table", { class: "fields" }, h("tbody", {}, entries.map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const field = fieldName(name);
    return h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, visible(name))), h("td", {}, h("bdi", {}, visible(text, { lines: true }))),
      h("td", { class: "acts" }, field === null ? null : [
        h("button", { type: "button", title: "Only records with this value", "aria-label": `Only this ${name}`, onclick: () => addFilter(field, "=", exactly(text)) }, "+"),
        h("button", { type: "button", title: "Only records without this value", "aria-label": `Not this ${name}`, onclick: () => addFilter(field, "!=", exactly(text)) }, "−"),
      ]));
  }))));
}
