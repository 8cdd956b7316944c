// The view of metrics: names, labels, a plot of the series that they choose.

import { ask, asleep, url } from "./api.js";
import { seconds } from "./charts.js";
import { $, h, middle, number, short, show, visible } from "./dom.js";
import { MODES, RANGES, addMatcher, choose, chosen, selector, span } from "./metricstate.js";
import { colour, exact, plot } from "./plot.js";

const LINES = 40; // at once: more cannot be told apart
let all = []; // names with type, unit, description, series
let shown = ""; // the name that is plotted
let answer = null; // the last lines
let hidden = new Set(); // of lines, by their labels
let open = ""; // the line whose labels are listed
let generation = 0;

/** Everything anew. */
export async function refresh() {
  const mine = ++generation;
  await names();
  if (mine !== generation) return;
  const name = chosen.name || (all.some((one) => one.name === "up") ? "up" : all[0]?.name ?? "");
  if (name !== shown) {
    hidden = new Set();
    open = "";
  }
  shown = name;
  draw();
  await Promise.all([lines(), labels()]);
}

/** What a second brings. */
export async function tick(second) {
  if (asleep() || chosen.paused) return;
  if (second % 5 === 0 || !all.length) await names();
  if (!shown && all.length) await refresh();
  else if (second % 2 === 0 && chosen.range !== "custom") await lines();
}

// --- names ----------------------------------------------------------------------------------------------------------

async function names() {
  const found = await ask("metric-names", "metrics/names");
  if (!found) return;
  all = found.names;
  show($("metric-names"), all.slice(0, 5000).map(({ name }) => h("option", { value: name })));
  drawNames();
}

function drawNames() {
  const wanted = $("names-filter").value.trim().toLowerCase();
  const matching = all.filter(({ name, description }) => name.toLowerCase().includes(wanted) || (wanted && description.toLowerCase().includes(wanted)));
  const rows = matching.slice(0, 300).map(({ name, type, series, description }) => h("li", {}, h("button", {
    type: "button", class: name === shown ? "on" : null, title: [name, type, description].filter(Boolean).join(" · "), onclick: () => pick(name),
  }, h("span", { class: "name" }, h("bdi", {}, middle(visible(name), 29))), h("span", { class: "rate" }, number(series)))));
  if (matching.length > rows.length) rows.push(h("li", { class: "empty" }, `and ${number(matching.length - rows.length)} more: type a part of the name`));
  if (!rows.length) rows.push(h("li", { class: "empty" }, all.length ? "No name has that in it." : "No metrics have arrived."));
  show($("names"), rows);
  $("names-count").textContent = all.length ? `${number(all.length)} names` : "";
}

/** Plot a name; labels that were chosen for another one may not exist there. */
const pick = (name) => choose({ name, matchers: [] });

// --- the form -------------------------------------------------------------------------------------------------------

function draw() {
  if (document.activeElement !== $("metric")) $("metric").value = shown;
  show($("matchers"), chosen.matchers.map((one) => h("span", { class: `chip ${one.operator[0] === "!" ? "not" : ""}` },
    h("bdi", {}, `${visible(one.label)} ${one.operator} ${visible(one.value) || '""'}`),
    h("button", { type: "button", "aria-label": `Remove the matcher of ${one.label}`, onclick: () => choose({ matchers: chosen.matchers.filter((other) => other !== one) }) }, "✕"))));
  radios($("mranges"), RANGES, chosen.range, (range) => choose({ range }));
  radios($("modes"), MODES, chosen.mode, (mode) => choose({ mode }));
  $("mcustom").hidden = chosen.range !== "custom";
  if (document.activeElement !== $("mfrom")) $("mfrom").value = chosen.from;
  if (document.activeElement !== $("mto")) $("mto").value = chosen.to;
  drawPause();
  drawNames();
  const about = all.find(({ name }) => name === shown);
  show($("about"), about ? [h("b", {}, about.type), about.unit ? ` in ${visible(about.unit)}` : null, about.description ? ` · ${visible(about.description)}` : null] : null);
}

function drawPause() {
  const still = chosen.paused || chosen.range === "custom";
  $("pause").textContent = still ? "▶ Refresh" : "❚❚ Pause";
  $("pause").title = still ? "Draw it anew, and go on" : "Leave the picture as it is";
  $("pause").classList.toggle("live", !still);
}

const radios = (element, options, now, act) => show(element, options.map(([name, label]) => h("button", {
  type: "button", role: "radio", "aria-checked": String(now === name), class: now === name ? "on" : null, onclick: () => act(name),
}, label)));

/** Counters grow for ever: what is of interest is how fast. */
function mode() {
  if (chosen.mode !== "auto") return chosen.mode;
  const type = all.find(({ name }) => name === shown)?.type ?? "";
  const grows = type === "counter" || /_(total|bucket|count|sum)$/.test(shown) && ["histogram", "summary", "unknown"].includes(type);
  return grows ? "rate" : "raw";
}

async function labels() {
  const asked = new URLSearchParams(shown ? { match: selector(shown, []) } : {});
  const found = shown && await ask("metric-labels", "metrics/labels", asked);
  if (!found) return;
  show($("label-names"), found.labels.map(({ name }) => h("option", { value: name })));
  const names_ = found.labels.map(({ name }) => name);
  const wanted = names_.includes($("label").value) ? $("label").value : ["k8s.pod.name", "pod", "instance", "job"].find((name) => names_.includes(name)) ?? names_[0];
  show($("label"), names_.map((name) => h("option", { value: name, selected: name === wanted }, visible(name))));
  await labelValues();
}

async function labelValues() {
  const label = $("label").value;
  if (!label) return show($("label-values"), h("li", { class: "empty" }, "It has no labels."));
  const found = await ask("label-values", "metrics/values", new URLSearchParams({ label, match: selector(shown), limit: "30" }));
  if (!found) return;
  const most = Math.max(1, ...found.values.map(({ series }) => series));
  const rows = found.values.map(({ value, series }) => h("li", {}, h("button", { type: "button", title: "Click to see only these.", onclick: () => addMatcher(label, "=", value) },
    h("span", { class: "name" }, h("bdi", {}, value ? visible(value) : "(empty)")), h("span", { class: "rate" }, short(series)),
    h("meter", { min: 0, max: most, value: series, "aria-hidden": "true" }))));
  if (found.distinct > rows.length) rows.push(h("li", { class: "empty" }, `and ${number(found.distinct - rows.length)} more`));
  if (!rows.length) rows.push(h("li", { class: "empty" }, "No series has it."));
  show($("label-values"), rows);
}

/** Values to choose from for the label that is being typed. */
async function suggest() {
  const label = $("add-label").value.trim();
  if (!label || !shown) return show($("value-names"));
  const found = await ask("value-names", "metrics/values", new URLSearchParams({ label, match: selector(shown), limit: "200" }));
  if (found) show($("value-names"), found.values.map(({ value }) => h("option", { value })));
}

// --- the plot -------------------------------------------------------------------------------------------------------

async function lines() {
  if (!shown) {
    answer = null;
    show($("plot"), h("p", { class: "empty" }, "No metrics have arrived yet. Send OTLP to /v1/metrics, or Prometheus text to a Sumo Logic HTTP source."));
    show($("legend"));
    $("plotted").textContent = "";
    return;
  }
  const mine = generation;
  const asked = span();
  asked.set("match", selector(shown));
  asked.set("mode", mode());
  asked.set("limit", String(LINES));
  $("json-lines").href = url("metrics/lines", asked);
  const found = await ask("lines", "metrics/lines", asked);
  if (mine !== generation) return;
  if (!found) return answer || show($("plot"), h("p", { class: "empty" }, "This cannot be shown; the reason is above."));
  answer = found;
  drawLines();
}

const identity = (series) => JSON.stringify(Object.entries(series.labels).sort());

export function drawLines() {
  if (!answer) return;
  const names_ = telling(answer.series.map(({ labels: found }) => found));
  const all_ = answer.series.map((series, at) => ({ at, key: identity(series), label: caption(series, names_), ...series }));
  const visible_ = all_.filter(({ key }) => !hidden.has(key));
  const start = Number(BigInt(answer.from_unix_nano) / 1_000_000n);
  const step = answer.step_seconds * 1000;
  const unit = all.find(({ name }) => name === shown)?.unit ?? "";
  $("plotted").textContent = [
    `${number(answer.series.length)} series`,
    answer.more ? `of ${number(answer.matched)}: choose labels to see others` : answer.matched > answer.series.length ? `with values here, of ${number(answer.matched)}` : "",
    `a value each ${seconds(step)}`, answer.mode === "rate" ? `per second${unit ? `, in ${unit}` : ""}` : unit,
  ].filter(Boolean).join(", ");
  if (!answer.series.length) {
    show($("plot"), h("p", { class: "empty" }, answer.matched ? "These series have no values in this range." : "No series has these labels."));
  } else {
    plot($("plot"), visible_, start, step, (from, to) => choose({ range: "custom", from: new Date(from).toISOString(), to: new Date(to).toISOString() }));
  }
  legend(all_);
}

/** The labels that tell series apart, as few as do: of those that say the same, what people call things by. */
function telling(found) {
  const names_ = [...new Set(found.flatMap((labels_) => Object.keys(labels_)))].sort((one, other) => weight(one) - weight(other));
  let apart = found.map(() => "");
  return names_.filter((name) => {
    const finer = found.map((labels_, at) => `${apart[at]}\u0000${labels_[name] ?? ""}`);
    if (new Set(finer).size === new Set(apart).size) return false;
    apart = finer;
    return true;
  });
}

/** What people call things by comes first; what machines do, last. */
function weight(name) {
  const order = ["job", "k8s.pod.name", "pod", "k8s.container.name", "container"];
  if (order.includes(name)) return order.indexOf(name);
  if (["instance", "k8s.namespace.name", "namespace"].includes(name)) return 500;
  return /uid|\.id$|hash|revision/.test(name) ? 1000 : 100 + name.length;
}

function caption(series, names_) {
  const parts = names_.filter((name) => series.labels[name] !== undefined).slice(0, 6).map((name) => `${name}="${series.labels[name]}"`);
  return parts.length ? parts.join(", ") : series.labels.instance ? `${series.name} of ${series.labels.instance}` : series.name;
}

function legend(all_) {
  if (!all_.length) return show($("legend"));
  const rows = all_.map((line) => {
    const there = line.values.filter((value) => value !== null);
    const sum = there.reduce((total, value) => total + value, 0);
    const cells = [there[there.length - 1] ?? null, Math.min(...there), sum / there.length, Math.max(...there)];
    return [
      h("tr", { class: hidden.has(line.key) ? "off" : null },
        h("td", { class: "key" }, h("button", { type: "button", class: "quiet", "aria-pressed": String(!hidden.has(line.key)), title: "Click to hide or show it; with Ctrl, all others", onclick: (event) => toggle(line.key, event.ctrlKey || event.metaKey, all_) }, h("i", { class: `swatch ${colour(line.at)}` }))),
        h("td", {}, h("button", { type: "button", class: "caption", "aria-expanded": String(open === line.key), title: "Click to see all its labels", onclick: () => { open = open === line.key ? "" : line.key; drawLines(); } }, h("bdi", {}, visible(line.label)))),
        cells.map((value) => h("td", { class: "value" }, exact(value)))),
      open === line.key ? h("tr", {}, h("td", { colspan: 6 }, labelsOf(line))) : null,
    ];
  });
  show($("legend"), h("div", { class: "wide" }, h("table", { class: "grid legend" },
    h("thead", {}, h("tr", {}, ["", "series", "last", "min", "mean", "max"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.flat()))));
}

function toggle(key, others, all_) {
  if (others) hidden = new Set(all_.map((line) => line.key).filter((one) => one !== key));
  else if (!hidden.delete(key)) hidden.add(key);
  drawLines();
}

function labelsOf(line) {
  return h("table", { class: "fields" }, h("tbody", {}, Object.entries(line.labels).sort().map(([name, value]) => h("tr", {},
    h("th", { scope: "row" }, h("bdi", {}, visible(name))), h("td", {}, h("bdi", {}, visible(value))),
    h("td", { class: "acts" },
      h("button", { type: "button", title: "Only series with this value", "aria-label": `Only this ${name}`, onclick: () => addMatcher(name, "=", value) }, "+"),
      h("button", { type: "button", title: "Only series without this value", "aria-label": `Not this ${name}`, onclick: () => addMatcher(name, "!=", value) }, "−"))))));
}

// --- what people do -------------------------------------------------------------------------------------------------

export function listen() {
  $("names-filter").addEventListener("input", drawNames);
  $("metric").addEventListener("change", () => pick($("metric").value.trim()));
  $("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("metric").value.trim();
    choose({ name, matchers: name === shown ? chosen.matchers : [], from: $("mfrom").value.trim(), to: $("mto").value.trim() });
  });
  $("add-label").addEventListener("change", suggest);
  const add = () => {
    const label = $("add-label").value.trim();
    if (!label) return $("add-label").focus();
    addMatcher(label, $("add-operator").value, $("add-value").value);
    $("add-label").value = $("add-value").value = "";
  };
  $("add-matcher").addEventListener("click", add);
  $("add-value").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  $("label").addEventListener("change", labelValues);
  $("pause").addEventListener("click", () => {
    if (chosen.range === "custom") return refresh();
    chosen.paused = !chosen.paused;
    drawPause();
    if (!chosen.paused) refresh();
  });
  let wait = 0;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(drawLines, 150);
  });
}
