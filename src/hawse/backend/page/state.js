// What is being looked at, kept in the page's address, so that it can be sent to somebody else.

export const RANGES = [
  ["live", "Live"],
  ["5m", "5 min"],
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["all", "All"],
  ["custom", "Custom"],
];

export const state = { q: "", filters: [], range: "live", from: "", to: "", facet: "", record: "" };
const listeners = [];

/** Call `listener` whenever the state changes. */
export const onChange = (listener) => listeners.push(listener);

export function load() {
  const asked = new URLSearchParams(location.search);
  state.q = asked.get("q") ?? "";
  state.from = asked.get("from") ?? "";
  state.to = asked.get("to") ?? "";
  state.facet = asked.get("facet") ?? "";
  state.record = /^\d+$/.test(asked.get("record") ?? "") ? asked.get("record") : "";
  state.range = asked.get("range") ?? (state.from || state.to ? "custom" : "live");
  if (!RANGES.some(([name]) => name === state.range)) state.range = "live";
  state.filters = asked.getAll("f").map((text) => {
    const match = /^([^]+?)(!?=)([^]*)$/.exec(text);
    return match ? { field: match[1], how: match[2], regex: match[3] } : null;
  }).filter(Boolean);
}

/** Change the state and say so. */
export function change(changes) {
  remember(changes);
  for (const listener of listeners) listener();
}

/** Change the state and the page's address only. */
export function remember(changes) {
  Object.assign(state, changes);
  changed();
}

const keepers = [];

/** Have `keeper` add to the page's address what another view keeps there. */
export const keep = (keeper) => keepers.push(keeper);

/** Write the page's address anew. */
export function changed() {
  const shown = new URLSearchParams();
  if (state.q) shown.set("q", state.q);
  for (const { field, how, regex } of state.filters) shown.append("f", field + how + regex);
  if (state.range !== "live") shown.set("range", state.range);
  if (state.range === "custom") {
    if (state.from) shown.set("from", state.from);
    if (state.to) shown.set("to", state.to);
  }
  if (state.facet) shown.set("facet", state.facet);
  if (state.record) shown.set("record", state.record);
  for (const keeper of keepers) keeper(shown);
  const query = shown.toString();
  history.replaceState(null, "", location.pathname + (query ? `?${query}` : "") + location.hash);
}

export function addFilter(field, how, regex) {
  const same = (one) => one.field === field && one.how === how && one.regex === regex;
  if (!state.filters.some(same)) change({ filters: [...state.filters, { field, how, regex }] });
}

/** A value as an expression that matches it alone. */
export const exactly = (value) => value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** An expression as a person reads it: the value, where it matches one alone. */
export function readable(regex) {
  const value = regex.replace(/\\([.*+?^${}()|[\]\\])/g, "$1");
  return exactly(value) === regex ? value : regex;
}

/** The conditions as the API has them. */
export function conditions() {
  const asked = new URLSearchParams();
  if (state.q) asked.set("q", state.q);
  for (const { field, how, regex } of state.filters) asked.append(how === "!=" ? `${field}!` : field, regex);
  return asked;
}

/** Conditions and time range. */
export function search() {
  const asked = conditions();
  if (["5m", "1h", "24h"].includes(state.range)) asked.set("from", `-${state.range}`);
  if (state.range === "custom" && state.from) asked.set("from", state.from);
  if (state.range === "custom" && state.to) asked.set("to", state.to);
  return asked;
}
