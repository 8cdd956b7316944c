// One trace: its waterfall, the span that is open, the log records beside it.

import { ask, url } from "./api.js";
import { $, h, middle, number, show, visible } from "./dom.js";
import { open as openRecord } from "./rows.js";
import { duration, rows } from "./spantree.js";
import { exactly } from "./state.js";
import { addFilter, look, remember, wanted } from "./tracestate.js";
import { Waterfall } from "./waterfall.js";

const LIMIT = "10000";
const BODY_LIMIT = "2000";
const MOST_VALUE = 20_000; // characters of a value that are shown
let trace = null; // the API's answer
let fall = null;
let colours = new Map();
let opening = 0;

const colour = (service) => `c${(colours.get(service) ?? 0) % 12}`;

/** Show the trace that is wanted. */
export async function open() {
  const id = wanted.trace;
  if (trace?.trace_id === id) return chooseWanted();
  clear();
  const mine = ++opening;
  const asked = new URLSearchParams({ trace_id: id, limit: LIMIT });
  const answer = await ask("trace", "traces/trace", asked);
  if (mine !== opening || wanted.trace !== id) return;
  if (!answer) return show($("trace-title"), "This trace cannot be shown");
  trace = answer;
  colours = new Map(trace.services.map(({ name }, at) => [name, at]));
  fall = new Waterfall($("waterfall"), { pick, colour });
  fall.set(rows(trace.items));
  $("json-trace").href = url("traces/trace", asked);
  $("json-otlp").href = url("traces/trace", new URLSearchParams({ trace_id: id, format: "otlp" }));
  $("find-span").value = "";
  find();
  head();
  chooseWanted();
  await beside();
}

function chooseWanted() {
  const at = wanted.span ? fall.rows.findIndex(({ span }) => span.span_id === wanted.span) : -1;
  if (at >= 0 && fall.chosen !== at) fall.choose(at);
}

/** Nothing is shown until another trace is. */
function clear() {
  trace = fall = null;
  for (const id of ["trace-title", "trace-facts", "trace-legend", "waterfall", "beside", "beside-listed"]) show($(id));
  $("span-drawer").hidden = true;
  $("view-traces").classList.remove("opened");
}

export const forget = () => {
  clear();
  closeSpan();
};

function head() {
  const { root, services, items } = trace;
  show($("trace-title"), root ? [h("bdi", {}, visible(root.service)), " ", h("bdi", {}, visible(root.name))] : "Trace");
  show($("trace-facts"), [
    `${trace.start.slice(0, 23).replace("T", " ")} UTC · ${duration(trace.duration_nano)} · ${number(trace.spans)} ${trace.spans === 1 ? "span" : "spans"} · `,
    trace.errors ? h("b", { class: "bad" }, `${number(trace.errors)} ${trace.errors === 1 ? "error" : "errors"}`) : "no errors",
    root?.missing ? " · its root is missing" : null,
    trace.more ? h("b", {}, ` · only the first ${number(items.length)} are drawn`) : null,
    " · ", h("code", {}, trace.trace_id),
  ]);
  show($("trace-legend"), services.map(({ name, spans, errors }) => h("span", { class: `service ${colour(name)}` }, h("i", { class: "swatch" }), " ",
    h("bdi", {}, middle(visible(name), 30)), h("small", {}, ` ${number(spans)}${errors ? `, ${number(errors)} failed` : ""}`))),
    trace.service_count > services.length ? h("small", {}, `and ${number(trace.service_count - services.length)} more`) : null);
  $("next-error").disabled = !items.some(({ status }) => status.code === "error");
}

// --- what is open ---------------------------------------------------------------------------------------------------

function pick(row) {
  remember({ span: row.span.span_id });
  const { span } = row;
  const resource = trace.resources[span.resource];
  show($("span-drawer"),
    h("div", { class: "head" }, h("h2", {}, h("bdi", {}, visible(span.name) || "(no name)")),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: closeSpan }, "✕")),
    h("div", { class: "inside" },
      span.malformed ? h("p", { class: "bad" }, `What is inside this span cannot be read: ${span.malformed}`) : null,
      row.lost ? h("p", { class: "hint" }, visible(`⤷ ${row.lost}`)) : null,
      table("Span", own(row)),
      table("Attributes", Object.entries(span.attributes), (name) => name, dropped(span.dropped_attributes_count)),
      events(span), links(span),
      table("Resource", Object.entries(resource), (name) => name),
      table("Scope", [["name", span.scope.name], ["version", span.scope.version], ...Object.entries(span.scope.attributes), ["schema URL", span.schema_url]].filter(([, value]) => value !== ""))));
  $("span-drawer").hidden = false;
  $("view-traces").classList.add("opened");
}

export function closeSpan() {
  $("span-drawer").hidden = true;
  $("view-traces").classList.remove("opened");
  if (wanted.span) remember({ span: "" });
}

function own(row) {
  const { span } = row;
  const { code, message } = span.status;
  return [
    ["service", span.service], ["kind", span.kind], ["status", message ? `${code}: ${message}` : code], ["started", span.start],
    ["after", duration(row.begin)], ["duration", duration(row.took)], ["span id", span.span_id], ["parent", span.parent_span_id],
    ["trace state", span.trace_state], ["flags", span.flags ? `0x${span.flags.toString(16)}` : ""],
  ].filter(([, value]) => value !== "");
}

const dropped = (count) => (count ? `${number(count)} more were dropped by the sender` : "");

function events(span) {
  if (!span.events.length && !span.dropped_events_count) return null;
  const start = BigInt(span.start_unix_nano);
  return h("section", {}, h("h3", {}, `Events`, h("small", {}, dropped(span.dropped_events_count))), span.events.map((event) =>
    h("details", { open: span.events.length <= 5 },
      h("summary", {}, h("bdi", {}, visible(event.name) || "(no name)"), h("small", {}, ` ${after(BigInt(event.time_unix_nano) - start)} after its start`)),
      table("", Object.entries(event.attributes), null, dropped(event.dropped_attributes_count)))));
}

const after = (nanoseconds) => (nanoseconds < 0n ? `-${duration(-nanoseconds)}` : duration(nanoseconds));

function links(span) {
  if (!span.links.length && !span.dropped_links_count) return null;
  return h("section", {}, h("h3", {}, "Links", h("small", {}, dropped(span.dropped_links_count))), span.links.map((link) =>
    h("div", {}, h("button", { type: "button", class: "caption", onclick: () => look({ trace: link.trace_id, span: link.span_id }) }, `${link.trace_id} / ${link.span_id}`),
      table("", [...Object.entries(link.attributes), ...(link.trace_state ? [["trace state", link.trace_state]] : [])], null, dropped(link.dropped_attributes_count)))));
}

function table(title, entries, field = null, note = "") {
  if (!entries.length && !note) return null;
  return h("section", {}, title ? h("h3", {}, title, h("small", {}, note)) : null, h("table", { class: "fields" }, h("tbody", {}, entries.map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, visible(name))), h("td", {}, h("bdi", {}, visible(text.slice(0, MOST_VALUE), { lines: true })), text.length > MOST_VALUE ? h("i", {}, " …") : null),
      field ? h("td", { class: "acts" },
        h("button", { type: "button", title: "Only traces with such a span", "aria-label": `Only this ${name}`, onclick: () => addFilter(field(name), "=", exactly(text)) }, "+"),
        h("button", { type: "button", title: "Only traces with a span without this value", "aria-label": `Not this ${name}`, onclick: () => addFilter(field(name), "!=", exactly(text)) }, "−")) : null);
  }))));
}

// --- log records beside it ------------------------------------------------------------------------------------------

async function beside() {
  const asked = new URLSearchParams({ trace_id: trace.trace_id, around: $("around").value, body_limit: BODY_LIMIT });
  $("json-beside").href = url("traces/logs", asked);
  const answer = await ask("beside", "traces/logs", asked);
  if (!answer || !trace) return;
  const start = BigInt(trace.start_unix_nano);
  const naming = answer.records.filter(({ of }) => of === "trace").length;
  $("beside-listed").textContent = `Log records: ${number(naming)} name this trace, ${number(answer.records.length - naming)} are of its pods meanwhile${answer.more ? "; there are more" : ""}`;
  show($("beside"), answer.records.length ? answer.records.map((record) => {
    const offset = BigInt(record.time_unix_nano) - start;
    return h("div", { class: `row of-${record.of} ${record.severity_number >= 17 ? "error" : ""}`, title: record.of === "trace" ? "It names this trace" : "It is of a pod of this trace", onclick: () => toRecord(record.id) },
      h("time", { datetime: record.time, title: record.time }, `${offset < 0n ? "−" : "+"}${duration(offset < 0n ? -offset : offset)}`),
      h("span", { class: "source", title: record.source }, h("bdi", {}, middle(visible(record.source), 36))),
      h("span", { class: "body" }, h("bdi", {}, visible(record.body))));
  }) : h("p", { class: "empty" }, "No log records name this trace, and its pods said nothing meanwhile."));
}

function toRecord(id) {
  location.hash = "logs";
  openRecord(id);
}

// --- what people do -------------------------------------------------------------------------------------------------

function find() {
  const text = $("find-span").value.trim().toLowerCase();
  const has = ({ span }) => text && `${span.service} ${span.name} ${span.span_id} ${JSON.stringify(span.attributes)} ${span.status.message}`.toLowerCase().includes(text);
  const found = new Set(fall ? fall.rows.filter(has).map(({ at }) => at) : []);
  fall?.mark(found);
  $("next-found").hidden = !text;
  $("next-found").textContent = found.size ? `Next of ${number(found.size)}` : "None";
  return found;
}

const nextError = () => fall?.next(({ span }) => span.status.code === "error");

export function key(event) {
  if (!fall || !wanted.trace) return;
  const act = {
    j: () => fall.move(1), ArrowDown: () => fall.move(1),
    k: () => fall.move(-1), ArrowUp: () => fall.move(-1),
    ArrowLeft: () => fall.chosen >= 0 && fall.toggle(fall.chosen, true),
    ArrowRight: () => fall.chosen >= 0 && fall.toggle(fall.chosen, false),
    e: nextError,
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

export function listen() {
  let wait = 0;
  $("find-span").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(find, 150);
  });
  const nextFound = () => {
    const found = find();
    fall?.next(({ at }) => found.has(at));
  };
  $("find-span").addEventListener("keydown", (event) => event.key === "Enter" && nextFound());
  $("next-found").addEventListener("click", nextFound);
  $("next-error").addEventListener("click", nextError);
  $("fold-all").addEventListener("click", () => fall?.foldAll(true));
  $("unfold-all").addEventListener("click", () => fall?.foldAll(false));
  $("to-traces").addEventListener("click", () => look({ trace: "", span: "" }));
  $("around").addEventListener("change", () => trace && beside());
  addEventListener("resize", () => trace && fall?.draw());
}
