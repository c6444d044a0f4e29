// Which earlier outputs each layer of a stage reads, and what that costs: the definitions of StageGraph,
// graph_figures and stage_costs in the Python library, by enumeration. No DOM here.
//
// A setting is {depth, rule, base, offsets, merge}: base is used by "sparse" alone, offsets by "own" alone.

export const RULES = ["sparse", "dense", "resnet", "own"];
export const MERGES = ["concat", "sum"];

/** Every layer is BN-ReLU-conv3x3 to `width` channels, and the stage's input has as many. */
export const STAGE = { width: 12, pixels: 32 * 32 };

/** Under every rule, layer l reads the outputs l - offset: the offsets up to `limit`, ascending. */
function offsetsUpTo({ rule, base, offsets }, limit) {
  if (rule === "own") return offsets.filter((offset) => offset <= limit);
  const found = [];
  for (let offset = 1; offset <= limit; offset = rule === "sparse" ? offset * base : offset + 1) {
    found.push(offset);
  }
  return found;
}

/** The outputs that `layer` (1 ... depth + 1) reads, nearest first; layer depth + 1 is the stage's output. */
export function inputs(setting, layer) {
  return offsetsUpTo(setting, layer).map((offset) => layer - offset);
}

/** The layers (up to depth + 1) that read `output`, ascending. */
export function readers(setting, output) {
  return offsetsUpTo(setting, setting.depth + 1 - output).map((offset) => output + offset);
}

/** Whether each layer reads one tensor, a sum to which every output is added. */
export function keepsRunningSum({ rule, merge }) {
  return rule === "resnet" || (rule === "dense" && merge === "sum");
}

/** The outputs on the way of fewest links from output `depth` back to output 0, both included. */
export function shortestPath(setting) {
  const lengths = [0];
  const next = [];
  for (let layer = 1; layer <= setting.depth; layer++) {
    // Of equally short ways, the one whose first link reaches further back.
    next[layer] = inputs(setting, layer).reduce((best, o) => (lengths[o] <= lengths[best] ? o : best));
    lengths[layer] = lengths[next[layer]] + 1;
  }
  const path = [setting.depth];
  while (path.at(-1) > 0) path.push(next[path.at(-1)]);
  return path;
}

/** The most outputs that wait at once: made, and read by the current layer or a later one. */
function mostWaiting(setting) {
  const lastUse = range(0, setting.depth).map((output) => readers(setting, output).at(-1));
  const waiting = (layer) => lastUse.filter((last, output) => output < layer && layer <= last).length;
  return Math.max(...range(1, setting.depth + 1).map(waiting));
}

/** The figures of one stage, under the names that `sparsenet analyze` gives them. */
export function figures(setting) {
  const { width, pixels } = STAGE;
  const fanIns = range(1, setting.depth).map((layer) => inputs(setting, layer).length);
  const runningSum = keepsRunningSum(setting);
  const linksUnrolled = sum(fanIns);
  const channels = sum(fanIns.map((fanIn) => (setting.merge === "sum" ? width : fanIn * width)));
  const weights = 9 * channels * width;
  return {
    links: runningSum ? setting.depth : linksUnrolled,
    links_unrolled: linksUnrolled,
    shortest_path: shortestPath(setting).length - 1,
    live_outputs: runningSum ? 1 : mostWaiting(setting),
    parameters: weights + 2 * channels, // batch norm has a scale and a shift for each channel
    macs: weights * pixels,
  };
}

export function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
