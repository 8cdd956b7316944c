// Starts the page: views, keys, the clock.

import { $ } from "./dom.js";
import { fieldNames, listen, refresh, tick } from "./logs.js";
import * as metrics from "./metrics.js";
import { load as loadMetrics, onChoice } from "./metricstate.js";
import { groups, strip } from "./other.js";
import { close, move, open, openChosen } from "./rows.js";
import { change, load, onChange, state } from "./state.js";
import * as traces from "./traces.js";
import { load as loadTraces, onLook } from "./tracestate.js";

const VIEWS = ["logs", "metrics", "traces", "status"];
const view = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "logs");

async function showView() {
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view();
    $(`tab-${name}`).toggleAttribute("aria-current", name === view());
  }
  if (view() === "logs") await refresh();
  if (view() === "metrics") await metrics.refresh();
  if (view() === "traces") await traces.refresh();
  if (view() === "status") await Promise.all([strip(), groups()]);
}

function key(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (view() === "traces") traces.close();
    else close();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (view() === "metrics" && event.key === "/") {
    event.preventDefault();
    $("names-filter").focus();
  }
  if (view() === "traces") traces.key(event);
  if (view() !== "logs") return;
  const act = {
    "/": () => $("q").focus(),
    j: () => move(1), ArrowDown: () => move(1),
    k: () => move(-1), ArrowUp: () => move(-1),
    l: () => change({ range: "live" }),
    "?": () => $("help").showModal(),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  } else if (event.key === "Enter" && !/^(BUTTON|A|SUMMARY)$/.test(event.target.tagName)) {
    openChosen();
  }
}

async function run() {
  load();
  loadMetrics();
  loadTraces();
  listen();
  metrics.listen();
  traces.listen();
  onChange(refresh);
  onChoice(metrics.refresh);
  onLook(traces.refresh);
  addEventListener("hashchange", showView);
  addEventListener("popstate", () => { load(); loadMetrics(); loadTraces(); showView(); });
  document.addEventListener("keydown", key);
  await Promise.all([showView(), strip(), fieldNames()]);
  if (state.record) await open(state.record);
  // One round after the other, so that a slow backend is never asked twice at once.
  for (let second = 1; ; second++) {
    await new Promise((done) => setTimeout(done, 1000));
    if (document.hidden) continue;
    await strip();
    if (view() === "logs") await tick(second);
    if (view() === "logs" && second % 10 === 0) await fieldNames();
    if (view() === "metrics") await metrics.tick(second);
    if (view() === "traces") await traces.tick(second);
    if (view() === "status" && second % 3 === 0) await groups();
  }
}

run();
