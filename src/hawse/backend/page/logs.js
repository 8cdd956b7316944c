// The view of logs: search, chart, list, sources, values of a field.

import { ask, asleep, url } from "./api.js";
import { bars, seconds, sparkline } from "./charts.js";
import { $, h, middle, number, short, show, visible } from "./dom.js";
import { appendRows, prependRows, replaceRows, rowCount } from "./rows.js";
import { RANGES, addFilter, change, conditions, exactly, readable, search, state } from "./state.js";

const PAGE = 100;
const BODY_LIMIT = "2000"; // bytes of each body: the list shows one line
let last = 0; // the id of the last record that has arrived, while live
let next = null; // where older records go on
let generation = 0;

/** Everything anew. */
export async function refresh() {
  const mine = ++generation;
  drawSearch();
  last = 0;
  next = null;
  await Promise.all([state.range === "live" ? live(mine) : list(mine), histogram(), sources(), values()]);
}

/** What a second brings. */
export async function tick(second) {
  if (asleep()) return;
  if (state.range === "live") await live(generation);
  if (second % 2 === 0 && state.range === "live") await histogram();
  if (second % 3 === 0) await sources();
  if (second % 5 === 0 && state.range === "live") await values();
}

// --- the list -------------------------------------------------------------------------------------------------------

async function live(mine) {
  const asked = conditions();
  asked.set("limit", PAGE);
  asked.set("body_limit", BODY_LIMIT);
  $("json-list").href = url("logs/tail", asked);
  if (last) asked.set("after", last);
  const answer = await ask("list", "logs/tail", asked);
  if (!answer || mine !== generation) return;
  if (!last || answer.skipped) replaceRows(answer.records);
  else if (answer.records.length) prependRows(answer.records);
  last = Math.max(1, answer.last);
  $("older").hidden = true;
  $("listed").textContent = `The last ${number(rowCount())} to arrive. Times are UTC.`;
}

async function list(mine) {
  const asked = search();
  asked.set("limit", PAGE);
  asked.set("body_limit", BODY_LIMIT);
  $("json-list").href = url("logs/search", asked);
  if (next) asked.set("cursor", next);
  const first = !next;
  const answer = await ask("list", "logs/search", asked);
  if (!answer || mine !== generation) return;
  if (first) replaceRows(answer.records);
  else appendRows(answer.records);
  next = answer.next;
  $("older").hidden = !next;
  $("listed").textContent = `The newest ${number(rowCount())} by their own time, UTC${answer.complete ? "" : "; the search took long and goes on below"}`;
}

export const older = () => list(generation);

// --- the chart ------------------------------------------------------------------------------------------------------

async function histogram() {
  const isLive = state.range === "live";
  const asked = isLive ? conditions() : search();
  if (isLive) {
    asked.set("from", "-15m");
    asked.set("clock", "received");
  }
  asked.set("by", "");
  $("json-chart").href = url("logs/rates", asked);
  const answer = await ask("histogram", "logs/rates", asked);
  if (!answer) return;
  const series = answer.series[0] ?? { count: 0, counts: [] };
  const start = Number(BigInt(answer.from_unix_nano) / 1_000_000n);
  const step = answer.step_seconds * 1000;
  show($("total"), `${number(series.count)} ${series.count === 1 ? "record" : "records"}${isLive ? " in the last 15 minutes" : ""} `,
    series.count ? h("small", {}, `at most ${number(Math.max(...series.counts))} in ${seconds(step)}`) : null);
  show($("histogram"), series.count ? bars(series.counts, start, step, zoom) : h("p", { class: "empty" }, "Nothing in this range."));
}

function zoom(from, to) {
  change({ range: "custom", from: new Date(from).toISOString(), to: new Date(to).toISOString() });
}

// --- sources and values ---------------------------------------------------------------------------------------------

async function sources() {
  const asked = new URLSearchParams({ from: "-15m", clock: "received", step: "15s", by: "source", limit: "50" });
  const answer = await ask("sources", "logs/rates", asked);
  if (!answer) return;
  const minute = (counts) => counts.slice(-5, -1).reduce((sum, count) => sum + count, 0) / 60;
  show($("sources"), answer.series.length ? answer.series.map(({ values, count, counts }) =>
    h("li", {}, h("button", { type: "button", title: `${values.source}: ${number(count)} records. Click to see only these.`, onclick: () => addFilter("source", "=", exactly(values.source)) },
      h("span", { class: "name" }, h("bdi", {}, middle(visible(values.source), 31))),
      sparkline(counts),
      h("span", { class: "rate" }, `${short(minute(counts))}/s`)))) : h("li", { class: "empty" }, "Nothing has arrived lately."));
}

export async function fieldNames() {
  const answer = await ask("fields", "fields");
  if (!answer) return;
  const names = ["source", ...answer.fields.map(({ name }) => name)];
  show($("field-names"), names.map((name) => h("option", { value: name })));
  const facets = names.filter((name) => !["body", "trace_id", "span_id"].includes(name));
  const wanted = state.facet || ["k8s.namespace.name", "_sourceCategory", "source"].find((name) => facets.includes(name));
  if (facets.join("\n") === [...$("facet").options].map(({ value }) => value).join("\n")) return;
  show($("facet"), facets.map((name) => h("option", { value: name, selected: name === wanted }, visible(name))));
  await values();
}

async function values() {
  const field = $("facet").value;
  if (!field) return;
  const asked = search();
  asked.set("field", field);
  asked.set("limit", "20");
  const answer = await ask("values", "logs/values", asked);
  if (!answer) return;
  const most = Math.max(1, ...answer.values.map(({ count }) => count));
  const rows = answer.values.map(({ value, count }) => h("li", {}, h("button", { type: "button", title: "Click to see only these.", onclick: () => addFilter(field, "=", exactly(value)) },
    h("span", { class: "name" }, h("bdi", {}, value ? visible(value) : "(empty)")), h("span", { class: "rate" }, short(count)),
    h("meter", { min: 0, max: most, value: count, "aria-hidden": "true" }))));
  if (answer.distinct > rows.length) rows.push(h("li", { class: "empty" }, `and ${number(answer.distinct - rows.length)} more`));
  if (!rows.length) rows.push(h("li", { class: "empty" }, "No record has it."));
  show($("values"), rows);
}

// --- the search form ------------------------------------------------------------------------------------------------

function drawSearch() {
  if (document.activeElement !== $("q")) $("q").value = state.q;
  show($("chips"), state.filters.map((filter) => h("span", { class: `chip ${filter.how === "!=" ? "not" : ""}` },
    h("bdi", {}, `${visible(filter.field)} ${filter.how === "!=" ? "≠" : "="} ${visible(readable(filter.regex)) || "(is there)"}`),
    h("button", { type: "button", "aria-label": `Remove the filter on ${filter.field}`, onclick: () => change({ filters: state.filters.filter((one) => one !== filter) }) }, "✕"))));
  show($("ranges"), RANGES.map(([name, label]) => h("button", {
    type: "button", role: "radio", "aria-checked": String(state.range === name), class: `${state.range === name ? "on" : ""} ${name}`,
    onclick: () => change({ range: name }),
  }, label)));
  $("custom").hidden = state.range !== "custom";
  if (document.activeElement !== $("from")) $("from").value = state.from;
  if (document.activeElement !== $("to")) $("to").value = state.to;
}

export function listen() {
  let pause = 0;
  $("q").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => change({ q: $("q").value }), 350);
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(pause);
    change({ q: $("q").value, from: $("from").value.trim(), to: $("to").value.trim() });
  });
  const add = () => {
    const field = $("add-field").value.trim();
    if (!field) return $("add-field").focus();
    addFilter(field, $("add-how").value, $("add-regex").value);
    $("add-field").value = $("add-regex").value = "";
  };
  $("add").addEventListener("click", add);
  $("add-regex").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  $("facet").addEventListener("change", () => change({ facet: $("facet").value }));
  $("older").addEventListener("click", older);
}
