// What the page says of a setting, as text. No DOM here.

import { inputs, keepsRunningSum, readers, shortestPath, STAGE } from "./rules.js";

const LONGEST_PATH_IN_FULL = 9;

export function pathInWords(setting) {
  const path = shortestPath(setting);
  const links = path.length - 1;
  const shown = path.length > LONGEST_PATH_IN_FULL ? [...path.slice(0, 4), "…", ...path.slice(-2)] : path;
  const count = `${links} ${links === 1 ? "link" : "links"}`;
  return `Shortest path from output ${setting.depth} to output 0: ${shown.join(" → ")}, ${count}.`;
}

/** "Layer 8 reads outputs 0, 4, 6 and 7."; empty for output 0, which no layer made. */
export function readsInWords(setting, layer) {
  if (layer === 0) return "";
  const read = inputs(setting, layer).reverse();
  return `Layer ${layer} reads ${read.length === 1 ? "output" : "outputs"} ${listed(read)}.`;
}

/** "Output 8 is read by layers 9, 10 and 12, and by the stage's output." */
export function readersInWords(setting, output) {
  const all = readers(setting, output);
  const layers = all.filter((layer) => layer <= setting.depth);
  const readBy = layers.length ? [`by ${layers.length === 1 ? "layer" : "layers"} ${listed(layers)}`] : [];
  if (layers.length < all.length) readBy.push("by the stage's output");
  const name = output === 0 ? "Output 0, the stage's input," : `Output ${output}`;
  return `${name} is read ${readBy.join(", and ")}.`;
}

/** Join ascending numbers; three and more in a row become "first to last". */
function listed(numbers) {
  const runs = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run && number - run.at(-1) === 1) run.push(number);
    else runs.push([number]);
  }
  const words = runs.flatMap((run) => (run.length > 2 ? [`${run[0]} to ${run.at(-1)}`] : run));
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : `${words[0]}`;
}

/** Return a number as the table shows it: in full up to ten million, else in millions (M) or billions (G). */
export function numberInWords(number) {
  if (number < 1e7) return number.toLocaleString("en");
  const [unit, letter] = number < 999.5e6 ? [1e6, "M"] : [1e9, "G"];
  return (number / unit).toPrecision(3) + letter;
}

/** The Python that prints the figures of a setting. */
export function python(setting) {
  const { depth, rule, base, offsets, merge } = setting;
  const aggregation = {
    sparse: `"sparse", base=${base}`,
    dense: `"dense"`,
    resnet: `"dense"`,
    own: `lambda layer: [layer - o for o in [${offsets.join(", ")}] if o <= layer]`,
  }[rule];
  return `from sparsenet_models.aggregation import StageGraph
from sparsenet_models.analysis import stage_costs
from sparsenet_models.analysis.graphs import graph_figures

graph = StageGraph(${depth}, ${aggregation})
print(graph_figures(graph${keepsRunningSum(setting) ? ", running_sum=True" : ""}))
print(stage_costs(graph, "${merge}", width=${STAGE.width}))
`;
}
