// The page: its controls, the words below the picture, the table of figures, and the address.

import { Drawing } from "./drawing.js";
import { figures, keepsRunningSum } from "./rules.js";
import { BASE, consistent, DEPTH, readFragment, readOffsets, writeFragment } from "./setting.js";
import { numberInWords, pathInWords, python, readersInWords, readsInWords } from "./words.js";

const FIGURES = {
  links: "links",
  links_unrolled: "links, unrolled",
  parameters: "parameters",
  macs: "multiply-adds",
  live_outputs: "live outputs",
  shortest_path: "shortest path",
};

const radios = (name, choices) =>
  Object.entries(choices)
    .map(([value, text]) => `<label><input type="radio" name="${name}" value="${value}"><span>${text}</span></label>`)
    .join("");

const slider = (name, text, { least, most }) => `
  <span>${text} <output></output></span>
  <input type="range" name="${name}" min="${least}" max="${most}">`;

const HTML = `
<form>
  <label class="explore-depth">${slider("depth", "Depth <i>N</i>", DEPTH)}</label>
  <fieldset>
    <legend>Rule</legend>
    <div>${radios("rule", { sparse: "sparse", dense: "dense", resnet: "resnet", own: "your own" })}</div>
  </fieldset>
  <label>${slider("base", "Base <i>b</i>", BASE)}</label>
  <label class="explore-offsets">
    <span>Offsets</span>
    <input type="text" name="offsets" autocomplete="off" spellcheck="false">
  </label>
  <fieldset>
    <legend>Merge</legend>
    <div>${radios("merge", { concat: "concat", sum: "sum" })}</div>
  </fieldset>
</form>
<p class="explore-problem" role="alert"></p>
<figure>
  <svg role="listbox" aria-orientation="horizontal" aria-label="Outputs 0 to N of the stage"></svg>
  <figcaption>
    <p><span class="explore-path"></span> <span class="explore-sum">Each layer reads one tensor,
      the sum of all earlier outputs, which the arcs show.</span></p>
    <p class="explore-says"><span class="explore-hint">Point at an output, or press Tab and the arrow keys.
      A click or Enter holds it.</span>
      <span class="explore-reads"></span> <span class="explore-readers"></span></p>
  </figcaption>
</figure>
<table class="explore-figures">
  <thead><tr>
    <td></td><th scope="col">drawn</th>
    <th scope="col">DenseNet <small>dense concat</small></th>
    <th scope="col">ResNet <small>dense sum</small></th>
  </tr></thead>
  <tbody></tbody>
</table>
<details><summary>The same in Python</summary><pre><code></code></pre></details>`;

/** Put the diagram into `root`, in the setting that the address gives. */
export function start(root) {
  addStyle();
  root.classList.add("explore");
  root.innerHTML = HTML;
  const find = (selector) => root.querySelector(selector);
  const form = find("form");
  const { depth, base, rule, merge, offsets } = form.elements;
  const figure = find("figure");
  const drawing = new Drawing(find("svg"), { onLight: light, onHold: hold });
  let chosen, setting, held, problems;
  let typed = false; // whether the text of the offsets is newer than the setting

  function readAddress() {
    ({ setting: chosen, layer: held, problems } = readFragment(location.hash));
    typed = false;
    show();
  }

  function choose(part) {
    Object.assign(chosen, part);
    problems = [];
    if (held > chosen.depth) held = null;
    show();
  }

  function remember() {
    history.replaceState(history.state, "", writeFragment(setting, held));
  }

  function show() {
    setting = consistent(chosen);
    for (const input of [depth, base]) {
      input.value = setting[input.name];
      input.parentElement.querySelector("output").value = input.value;
    }
    rule.value = setting.rule;
    merge.value = setting.merge;
    for (const button of merge) button.disabled = setting.rule === "resnet";
    if (document.activeElement !== offsets) offsets.value = setting.offsets.join(", ");
    base.disabled = setting.rule !== "sparse";
    base.parentElement.hidden = setting.rule === "own";
    offsets.parentElement.hidden = setting.rule !== "own";
    find(".explore-problem").textContent = problems.join(" ");
    find("figcaption .explore-path").textContent = pathInWords(setting);
    find(".explore-sum").hidden = !keepsRunningSum(setting);
    find("tbody").replaceChildren(...rows(setting));
    find("code").textContent = python(setting);
    draw();
  }

  function draw() {
    const describe = (output) => `${readsInWords(setting, output)} ${readersInWords(setting, output)}`.trim();
    drawing.show(setting, figure.clientWidth, describe);
    light(drawing.focused());
  }

  function light(pointedAt) {
    const layer = pointedAt ?? held;
    drawing.light(layer, held);
    find("figcaption .explore-reads").textContent = layer === null ? "" : readsInWords(setting, layer);
    find("figcaption .explore-readers").textContent = layer === null ? "" : readersInWords(setting, layer);
    find(".explore-hint").hidden = layer !== null;
  }

  function hold(layer) {
    held = held === layer ? null : layer;
    remember();
    light(layer);
  }

  /** Take the offsets that are typed; those that cannot be stay in the field, with a word on why. */
  function takeOffsets() {
    try {
      choose({ offsets: readOffsets(offsets.value) });
      typed = false;
    } catch (error) {
      find(".explore-problem").textContent = error.message;
    }
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (target === depth || target === base) return choose({ [target.name]: Number(target.value) });
    if (target !== offsets) return choose({ [target.name]: target.value });
    typed = true;
    takeOffsets();
  });
  form.addEventListener("change", remember); // at the end of a drag: browsers limit how often an address changes
  offsets.addEventListener("blur", () => (typed ? takeOffsets() : show()));
  window.addEventListener("hashchange", () => {
    const isSetting = location.hash.includes("="); // otherwise it is a heading
    if (isSetting && root.isConnected) readAddress();
  });
  new ResizeObserver(() => figure.clientWidth !== drawing.width && draw()).observe(figure);
  readAddress();
}

/** Return the rows of the table: each figure of the drawn stage beside those of the dense rule's two merges. */
function rows(setting) {
  const dense = { depth: setting.depth, rule: "dense" };
  const columns = [setting, { ...dense, merge: "concat" }, { ...dense, merge: "sum" }].map(figures);
  return Object.entries(FIGURES).map(([name, title]) => {
    const row = document.createElement("tr");
    row.innerHTML = `<th scope="row">${title}</th>`;
    const most = Math.max(...columns.map((column) => column[name]));
    for (const column of columns) {
      const cell = row.insertCell();
      cell.dataset.figure = name;
      cell.dataset.value = column[name];
      cell.title = column[name].toLocaleString("en");
      cell.textContent = numberInWords(column[name]);
      cell.style.setProperty("--share", column[name] / most);
    }
    return row;
  });
}

function addStyle() {
  const href = new URL("explore.css", import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}
