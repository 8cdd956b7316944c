// Which series are looked at and how, kept in the page's address beside what is looked at of the logs.

import { changed, keep } from "./state.js";

export const RANGES = [["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["6h", "6 h"], ["24h", "24 h"], ["custom", "Custom"]];
export const MODES = [["auto", "Auto"], ["raw", "Raw"], ["rate", "Rate"]];

export const chosen = { name: "", matchers: [], range: "5m", from: "", to: "", mode: "auto", paused: false };

export function load() {
  const asked = new URLSearchParams(location.search);
  chosen.name = asked.get("metric") ?? "";
  chosen.matchers = asked.getAll("label").map((text) => {
    const match = /^([^]+?)(=~|!~|!=|=)([^]*)$/.exec(text);
    return match ? { label: match[1], operator: match[2], value: match[3] } : null;
  }).filter(Boolean);
  chosen.range = RANGES.some(([name]) => name === asked.get("mrange")) ? asked.get("mrange") : "5m";
  chosen.from = asked.get("mfrom") ?? "";
  chosen.to = asked.get("mto") ?? "";
  chosen.mode = MODES.some(([name]) => name === asked.get("mode")) ? asked.get("mode") : "auto";
}

keep((shown) => {
  if (chosen.name) shown.set("metric", chosen.name);
  for (const { label, operator, value } of chosen.matchers) shown.append("label", label + operator + value);
  if (chosen.range !== "5m") shown.set("mrange", chosen.range);
  if (chosen.range === "custom") {
    if (chosen.from) shown.set("mfrom", chosen.from);
    if (chosen.to) shown.set("mto", chosen.to);
  }
  if (chosen.mode !== "auto") shown.set("mode", chosen.mode);
});

const listeners = [];

/** Call `listener` whenever something else is looked at. */
export const onChoice = (listener) => listeners.push(listener);

export function choose(changes) {
  Object.assign(chosen, changes);
  changed();
  for (const listener of listeners) listener();
}

export function addMatcher(label, operator, value) {
  const same = (one) => one.label === label && one.operator === operator && one.value === value;
  if (!chosen.matchers.some(same)) choose({ matchers: [...chosen.matchers, { label, operator, value }] });
}

const plain = (name) => /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
const quoted = (text) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`;

/** The selector of a name and the chosen labels, as Prometheus writes it. */
export function selector(name, matchers = chosen.matchers) {
  const labels = matchers.map(({ label, operator, value }) => `${plain(label) ? label : quoted(label)}${operator}${quoted(value)}`);
  if (plain(name)) return labels.length ? `${name}{${labels.join(",")}}` : name;
  return `{${[...(name ? [quoted(name)] : []), ...labels].join(",")}}`;
}

/** The time range as the API has it. */
export function span() {
  const asked = new URLSearchParams();
  if (chosen.range !== "custom") asked.set("from", `-${chosen.range}`);
  else {
    if (chosen.from) asked.set("from", chosen.from);
    if (chosen.to) asked.set("to", chosen.to);
  }
  return asked;
}
