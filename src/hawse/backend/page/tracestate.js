// Which traces are looked for, or which one is looked at, kept in the page's address.

import { changed, keep } from "./state.js";

export const RANGES = [["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["24h", "24 h"], ["all", "All"], ["custom", "Custom"]];
export const STATUSES = [["", "Any"], ["error", "Errors"]];

const EMPTY = { service: "", operation: "", filters: [], least: "", most: "", status: "", range: "15m", from: "", to: "", limit: 50, trace: "", span: "" };
export const wanted = { ...EMPTY };
const TEXTS = { service: "service", operation: "operation", least: "takes", most: "atmost", status: "status", from: "tfrom", to: "tto", trace: "trace", span: "span" };

export function load() {
  const asked = new URLSearchParams(location.search);
  for (const [key, name] of Object.entries(TEXTS)) wanted[key] = asked.get(name) ?? "";
  if (wanted.status !== "error") wanted.status = "";
  wanted.range = RANGES.some(([name]) => name === asked.get("trange")) ? asked.get("trange") : EMPTY.range;
  wanted.limit = EMPTY.limit;
  wanted.filters = asked.getAll("sf").map((text) => {
    const match = /^([^]+?)(!?=)([^]*)$/.exec(text);
    return match ? { field: match[1], how: match[2], regex: match[3] } : null;
  }).filter(Boolean);
}

keep((shown) => {
  for (const [key, name] of Object.entries(TEXTS)) {
    if (wanted[key] && (wanted.range === "custom" || !["from", "to"].includes(key))) shown.set(name, wanted[key]);
  }
  for (const { field, how, regex } of wanted.filters) shown.append("sf", field + how + regex);
  if (wanted.range !== EMPTY.range) shown.set("trange", wanted.range);
});

const listeners = [];

/** Call `listener` whenever something else is looked for. */
export const onLook = (listener) => listeners.push(listener);

export function look(changes) {
  remember(changes);
  for (const listener of listeners) listener();
}

/** Change what is looked for, and the page's address only. */
export function remember(changes) {
  Object.assign(wanted, changes);
  changed();
}

export function addFilter(field, how, regex) {
  const same = (one) => one.field === field && one.how === how && one.regex === regex;
  if (!wanted.filters.some(same)) look({ filters: [...wanted.filters, { field, how, regex }], trace: "", span: "" });
}

/** The time range as the API has it. */
export function span() {
  const asked = new URLSearchParams();
  if (!["custom", "all"].includes(wanted.range)) asked.set("from", `-${wanted.range}`);
  if (wanted.range === "custom" && wanted.from) asked.set("from", wanted.from);
  if (wanted.range === "custom" && wanted.to) asked.set("to", wanted.to);
  return asked;
}

/** Everything that is looked for. `exactly` makes an expression that matches a value alone. */
export function search(exactly) {
  const asked = span();
  if (wanted.service) asked.set("service", exactly(wanted.service));
  if (wanted.operation) asked.set("name", exactly(wanted.operation));
  if (wanted.status) asked.set("status", wanted.status);
  if (wanted.least) asked.set("min_duration", wanted.least);
  if (wanted.most) asked.set("max_duration", wanted.most);
  for (const { field, how, regex } of wanted.filters) asked.append(how === "!=" ? `${field}!` : field, regex);
  return asked;
}
