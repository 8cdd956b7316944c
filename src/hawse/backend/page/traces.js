// The view of traces: those that are looked for, as a list; or one, as a waterfall (trace.js).

import { ask, asleep, url } from "./api.js";
import { $, h, middle, number, short, show, visible } from "./dom.js";
import { duration } from "./spantree.js";
import { exactly, readable } from "./state.js";
import * as one from "./trace.js";
import { RANGES, STATUSES, look, search, span, wanted } from "./tracestate.js";

const MORE = 50;
const MOST = 1000;
const SERVICES = 5; // of a trace that are named
let generation = 0;

/** Everything anew. */
export async function refresh() {
  const mine = ++generation;
  const single = Boolean(wanted.trace);
  $("view-traces").classList.toggle("one", single);
  $("found").hidden = single;
  $("one-trace").hidden = !single;
  if (single) return one.open();
  one.forget();
  draw();
  await Promise.all([list(mine), services(), operations(), fields()]);
}

/** What a second brings. */
export async function tick(second) {
  if (asleep() || wanted.trace || wanted.range === "custom") return;
  if (second % 3 === 0) await list(generation);
  if (second % 5 === 0) await Promise.all([services(), operations()]);
}

// --- the list -------------------------------------------------------------------------------------------------------

async function list(mine) {
  const asked = search(exactly);
  asked.set("limit", wanted.limit);
  $("json-traces").href = url("traces/search", asked);
  const answer = await ask("traces", "traces/search", asked);
  if (!answer || mine !== generation) return;
  const { traces } = answer;
  const longest = Math.max(1, ...traces.map((trace) => Number(trace.duration_nano)));
  show($("traces"), traces.length ? traces.map((trace) => row(trace, longest)) : h("p", { class: "empty" }, "No traces."));
  $("traces-listed").textContent = `${answer.more ? `The latest ${number(traces.length)}` : number(traces.length)} ${traces.length === 1 ? "trace" : "traces"}. Times are UTC${answer.complete ? "." : "; the search took too long to see all."}`;
  $("more-traces").hidden = !answer.more || wanted.limit >= MOST;
}

function row(trace, longest) {
  const { root, services: all } = trace;
  return h("a", { class: `trace ${trace.errors ? "failed" : ""}`, href: `?trace=${trace.trace_id}#traces`, onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey) return; event.preventDefault(); look({ trace: trace.trace_id, span: "" }); } },
    h("time", { datetime: trace.start, title: trace.start }, trace.start.slice(0, 10) === new Date().toISOString().slice(0, 10) ? trace.start.slice(11, 23) : trace.start.slice(0, 19).replace("T", " ")),
    h("span", { class: "what" }, root ? [h("bdi", { class: "w-service" }, visible(root.service)), h("bdi", {}, visible(root.name) || "(no name)"), root.missing ? h("small", { title: "The span that began it has not arrived" }, "root missing") : null] : null),
    h("span", { class: "took" }, h("meter", { min: 0, max: longest, value: Number(trace.duration_nano), "aria-hidden": "true" }), h("b", {}, duration(trace.duration_nano))),
    h("span", { class: "count" }, `${number(trace.spans)} ${trace.spans === 1 ? "span" : "spans"}`, trace.errors ? h("b", { class: "bad" }, ` ${number(trace.errors)} failed`) : null),
    h("span", { class: "names" }, all.slice(0, SERVICES).map(({ name, errors }) => h("bdi", { class: `tag ${errors ? "bad" : ""}` }, middle(visible(name), 24))),
      trace.service_count > SERVICES ? h("small", {}, `+${number(trace.service_count - SERVICES)}`) : null));
}

// --- services, operations, fields -----------------------------------------------------------------------------------

async function values(kind, element, asked, chosen, act) {
  const answer = await ask(kind, "traces/values", asked);
  if (!answer) return [];
  const most = Math.max(1, ...answer.values.map(({ count }) => count));
  const rows = answer.values.map(({ value, count, errors }) => h("li", {}, h("button", { type: "button", class: value === chosen ? "on" : null, "aria-pressed": String(value === chosen), title: `${number(count)} spans, ${number(errors)} failed`, onclick: () => act(value === chosen ? "" : value) },
    h("span", { class: "name" }, h("bdi", {}, visible(value) || "(no name)")),
    h("span", { class: "rate" }, errors ? h("b", { class: "bad" }, `${short(errors)} / `) : null, short(count)),
    h("meter", { min: 0, max: most, value: count, "aria-hidden": "true" }))));
  if (answer.distinct > rows.length) rows.push(h("li", { class: "empty" }, `and ${number(answer.distinct - rows.length)} more`));
  show(element, rows.length ? rows : h("li", { class: "empty" }, "No spans in this range."));
  return answer.values.map(({ value }) => value);
}

async function services() {
  const asked = span();
  asked.set("field", "service");
  const names = await values("services", $("services"), asked, wanted.service, (service) => look({ service, operation: "", limit: MORE }));
  show($("service-names"), names.map((value) => h("option", { value })));
  $("services-count").textContent = names.length ? "errors / spans" : "";
}

async function operations() {
  const asked = span();
  asked.set("field", "name");
  if (wanted.service) asked.set("service", exactly(wanted.service));
  const names = await values("operations", $("operations"), asked, wanted.operation, (operation) => look({ operation, limit: MORE }));
  show($("operation-names"), names.map((value) => h("option", { value })));
  $("operations-of").textContent = wanted.service ? `of ${visible(wanted.service)}` : "of all services";
}

async function fields() {
  const answer = await ask("span-fields", "traces/fields");
  if (answer) show($("span-fields"), answer.fields.map(({ name }) => h("option", { value: name })));
}

// --- the form -------------------------------------------------------------------------------------------------------

const INPUTS = { service: "trace-service", operation: "trace-operation", least: "trace-least", most: "trace-most", from: "tfrom", to: "tto" };

function draw() {
  for (const [key, id] of Object.entries(INPUTS)) if (document.activeElement !== $(id)) $(id).value = wanted[key];
  radios($("tranges"), RANGES, wanted.range, (range) => look({ range, limit: MORE }));
  radios($("trace-status"), STATUSES, wanted.status, (status) => look({ status, limit: MORE }));
  $("tcustom").hidden = wanted.range !== "custom";
  show($("span-chips"), wanted.filters.map((filter) => h("span", { class: `chip ${filter.how === "!=" ? "not" : ""}` },
    h("bdi", {}, `${visible(filter.field)} ${filter.how === "!=" ? "≠" : "="} ${visible(readable(filter.regex)) || "(is there)"}`),
    h("button", { type: "button", "aria-label": `Remove the filter on ${filter.field}`, onclick: () => look({ filters: wanted.filters.filter((other) => other !== filter) }) }, "✕"))));
}

const radios = (element, options, now, act) => show(element, options.map(([name, label]) => h("button", {
  type: "button", role: "radio", "aria-checked": String(now === name), class: now === name ? "on" : null, onclick: () => act(name),
}, label)));

function submit() {
  const id = $("trace-id").value.trim().toLowerCase();
  $("trace-id").value = "";
  const typed = Object.fromEntries(Object.entries(INPUTS).map(([key, id_]) => [key, $(id_).value.trim()]));
  look({ ...typed, limit: MORE, trace: id, span: "" });
}

/** Close the span, or the trace where none is open. */
export function close() {
  if (!$("span-drawer").hidden) one.closeSpan();
  else if (wanted.trace) look({ trace: "", span: "" });
}

export function key(event) {
  if (event.key === "/") {
    event.preventDefault();
    $(wanted.trace ? "find-span" : "trace-id").focus();
  } else if (event.key === "?") $("help").showModal();
  else one.key(event);
}

export function listen() {
  one.listen();
  $("trace-search").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  for (const id of ["trace-service", "trace-operation"]) $(id).addEventListener("change", submit);
  const add = () => {
    const field = $("span-field").value.trim();
    if (!field) return $("span-field").focus();
    const filter = { field, how: $("span-how").value, regex: $("span-regex").value };
    $("span-field").value = $("span-regex").value = "";
    look({ filters: [...wanted.filters, filter], limit: MORE });
  };
  $("span-add").addEventListener("click", add);
  $("span-regex").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  $("more-traces").addEventListener("click", () => look({ limit: Math.min(MOST, wanted.limit * 4) }));
}
