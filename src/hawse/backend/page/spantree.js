// The spans of a trace as a tree: who called whom, and where each begins on the trace's axis.

/**
 * The rows of a waterfall, parents before their children, siblings by their start.
 *
 * Each row: the span; depth; begin and took in nanoseconds from the trace's start; below, how many rows belong to it;
 * lost: "" or why its parent is not above it. Spans may be anybody's: parents may be missing, ids may come twice
 * (Zipkin's servers share those of their clients), parents may go in circles.
 */
export function rows(spans) {
  const ordered = spans.map((span) => ({ span, start: BigInt(span.start_unix_nano), children: [], lost: "", placed: false }));
  ordered.sort((one, other) => (one.start < other.start ? -1 : one.start > other.start ? 1 : 0));
  if (!ordered.length) return [];
  const zero = ordered[0].start;
  const byId = new Map();
  for (const node of ordered) {
    const same = byId.get(node.span.span_id);
    if (same) same.push(node);
    else byId.set(node.span.span_id, [node]);
  }
  for (const same of byId.values()) if (same.length > 1) same.sort((one, other) => rank(one) - rank(other));
  const roots = [];
  for (const node of ordered) {
    const parent = parentOf(node, byId);
    if (parent) parent.children.push(node);
    else roots.push(node);
  }
  const found = [];
  for (const root of roots) place(root, zero, found);
  for (const node of ordered) {
    if (node.placed) continue;
    node.lost = "its parents go in a circle";
    place(node, zero, found);
  }
  return found;
}

/** Of spans that share an id, clients come first: they called. */
const rank = (node) => (node.span.kind === "client" || node.span.kind === "producer" ? 0 : 1);

function parentOf(node, byId) {
  const { span } = node;
  const same = byId.get(span.span_id);
  if (same[0] !== node && rank(node) > rank(same[0])) return same[0];
  if (!span.parent_span_id || /^0+$/.test(span.parent_span_id)) return null;
  const parents = byId.get(span.parent_span_id);
  if (!parents) {
    node.lost = `its parent ${span.parent_span_id} is missing`;
    return null;
  }
  const parent = parents.find((one) => one !== node && one.span.service === span.service) ?? parents.find((one) => one !== node);
  if (!parent) node.lost = "it is its own parent";
  return parent ?? null;
}

/** Without recursion: a chain of ten thousand calls is no reason to fail. */
function place(root, zero, found) {
  const open = [{ node: root, depth: 0 }];
  const places = [];
  while (open.length) {
    const { node, depth } = open.pop();
    if (node.placed) continue;
    node.placed = true;
    const { span } = node;
    const took = Number(BigInt(span.end_unix_nano) - node.start);
    places.push(found.length);
    found.push({ span, depth, begin: Number(node.start - zero), took: Math.max(0, took), below: 0, lost: node.lost, at: found.length });
    for (const child of node.children.slice().reverse()) open.push({ node: child, depth: depth + 1 });
  }
  // How many rows are below each: up to the next that is no deeper.
  const above = [];
  for (const place_ of places) {
    while (above.length && found[above[above.length - 1]].depth >= found[place_].depth) close_(above.pop(), place_, found);
    above.push(place_);
  }
  while (above.length) close_(above.pop(), found.length, found);
}

const close_ = (place_, end, found) => { found[place_].below = end - place_ - 1; };

/** Nanoseconds as people say them. */
export function duration(nanoseconds) {
  const value = Number(nanoseconds);
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (value >= size) return `${Number((value / size).toPrecision(value / size >= 100 ? 4 : 3))} ${unit}`;
  }
  return `${value} ns`;
}
