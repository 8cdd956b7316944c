// Totals above every view; the view of the backend's own state.

import { ask } from "./api.js";
import { $, bytes, h, number, short, show, visible } from "./dom.js";

const RATE_OVER = 10; // seconds
let seen = []; // statuses of the last seconds

/** Totals and rates since the last call. */
export async function strip() {
  const status = await ask("status", "status");
  if (!status) return;
  seen = seen.filter(({ started, uptime_seconds: up }) => started === status.started && up > status.uptime_seconds - RATE_OVER);
  const before = seen[0];
  const rate = (signal) => {
    if (!before) return 0;
    return (status.signals[signal].accepted - before.signals[signal].accepted) / (status.uptime_seconds - before.uptime_seconds);
  };
  const names = { logs: "logs", metrics: "data points", traces: "spans" };
  const boxes = Object.entries(status.signals).map(([signal, { held, accepted }]) =>
    h("span", { class: "box", title: `${number(accepted)} have arrived, ${number(held)} are held` },
      h("b", {}, short(held)), ` ${names[signal]} `, h("small", {}, `${short(rate(signal))}/s`)));
  const { size, max_size: most, problem } = status.store;
  if (status.series.held) boxes.splice(2, 0, h("span", { class: "box", title: "Series of metrics that are held" }, h("b", {}, short(status.series.held)), " series"));
  boxes.push(h("span", { class: "box", title: `${number(size)} bytes in ${status.store.path}` }, h("b", {}, bytes(size)), most ? h("small", {}, ` of ${bytes(most)}`) : null));
  if (status.faults.length) boxes.push(h("a", { class: "box alert", href: "#status" }, `${status.faults.length} fault${status.faults.length > 1 ? "s" : ""} active`));
  if (problem) boxes.push(h("span", { class: "box alert" }, problem));
  show($("strip"), boxes);
  seen.push(status);
  if (location.hash === "#status") statusView(status);
}

function statusView(status) {
  const signals = table(["signal", "arrived", "held", "let go by the limits", "bytes as they came"],
    Object.entries(status.signals).map(([name, s]) => [name, number(s.accepted), number(s.held), number(s.expired), bytes(s.accepted_bytes)]));
  const requests = status.requests.length ? table(["signal", "answer", "requests"],
    status.requests.map(({ signal, status: code, count }) => [signal, code || "none: cut or left hanging by a fault", number(count)])) : h("p", { class: "empty" }, "No requests yet.");
  const faults = status.faults.length ? table(["fault", "does", "matched", "fired"], status.faults.map((fault) => {
    const { id, matched, fired, ...rest } = fault;
    return [id, Object.entries(rest).map(([key, value]) => `${key}=${value}`).join(", "), number(matched), number(fired)];
  })) : h("p", { class: "empty" }, "None: the backend behaves.");
  const { path, size, max_size: most, max_records: records, max_age_seconds: age, problem } = status.store;
  show($("status"),
    h("h3", {}, "What has arrived"), signals,
    h("h3", {}, "Store"), table(["file", "in use", "limits"], [[path, bytes(size), [most ? bytes(most) : "any size", records ? `${number(records)} records` : null, age ? `${number(age)} s` : null].filter(Boolean).join(", ")]]),
    problem ? h("p", { class: "bad" }, problem) : null,
    h("h3", {}, "Requests of senders"), requests,
    h("h3", {}, "Faults"), faults,
    h("p", { class: "hint" }, `Version ${status.version}, up for ${number(Math.round(status.uptime_seconds))} s. Faults are set with PUT /api/v1/faults.`));
}

/** Groups of metrics that are not decoded. */
export async function groups() {
  const answer = await ask("groups", "groups", new URLSearchParams({ limit: "200" }));
  if (!answer) return;
  $("kept").hidden = !answer.groups.length;
  show($("groups"), table(["arrived", "signal", "source", "items", "format", "resource"], answer.groups.map((group) => [
    group.received.slice(0, 23).replace("T", " "), group.signal, group.source, number(group.items), group.format,
    h("details", {}, h("summary", {}, plural(Object.keys(group.resource).length)),
      h("table", { class: "fields" }, h("tbody", {}, Object.entries(group.resource).map(([name, value]) =>
        h("tr", {}, h("th", { scope: "row" }, visible(name)), h("td", {}, h("bdi", {}, visible(typeof value === "string" ? value : JSON.stringify(value))))))))),
  ])));
}

const plural = (count) => `${count} ${count === 1 ? "attribute" : "attributes"}`;

function table(head, rows) {
  const cell = (value) => (value instanceof Node ? value : h("bdi", {}, visible(String(value))));
  return h("div", { class: "wide" }, h("table", { class: "grid" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, cell(value))))))));
}
