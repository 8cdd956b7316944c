// Small SVG charts.

import { h, number, svg } from "./dom.js";

/** A line with the area under it, for a list of counts. */
export function sparkline(counts, width = 120, height = 26) {
  const most = Math.max(1, ...counts);
  const step = width / Math.max(1, counts.length - 1);
  const points = counts.map((count, at) => `${(at * step).toFixed(1)},${(height - 1 - (count / most) * (height - 3)).toFixed(1)}`);
  const line = points.join(" ");
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polygon", { points: `0,${height} ${line} ${width},${height}` }),
    svg("polyline", { points: line }));
}

/** Bars over time. `choose(start, end)` is called with milliseconds when a bar is clicked. */
export function bars(counts, start, step, choose) {
  const width = 1000, height = 90, most = Math.max(1, ...counts);
  const each = width / Math.max(1, counts.length);
  const made = counts.map((count, at) => {
    const tall = count ? Math.max(2, (count / most) * (height - 4)) : 0;
    const from = start + at * step;
    return svg("g", { class: "bar", onclick: () => choose(from, from + step) },
      svg("title", {}, `${clock(from)} UTC, ${seconds(step)}: ${number(count)}`),
      svg("rect", { class: "hit", x: at * each, y: 0, width: each, height }),
      svg("rect", { class: "ink", x: at * each + each * 0.1, y: height - tall, width: each * 0.8, height: tall, rx: Math.min(2, each / 6) }));
  });
  const end = start + counts.length * step;
  return h("figure", { class: "bars" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "Records over time" }, made),
    h("div", { class: "axis" }, [start, start + (end - start) / 2, end].map((at) => h("span", {}, clock(at, end - start)))));
}

/** A time of day in UTC, with the date where the span asks for it. */
export function clock(milliseconds, span = 0) {
  if (!Number.isFinite(milliseconds) || milliseconds > 8.64e15) return "?";
  const text = new Date(milliseconds).toISOString();
  return span > 86_400_000 ? text.slice(0, 16).replace("T", " ") : text.slice(11, 19);
}

/** A span of time in words. */
export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  if (value % 86400 === 0) return `${value / 86400} d`;
  if (value % 3600 === 0) return `${value / 3600} h`;
  return value % 60 === 0 ? `${value / 60} min` : `${value} s`;
}
