// The picture: arcs above a line of outputs. It draws what it is told to and reports which layer is pointed at.

import { inputs, range, readers, shortestPath } from "./rules.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 16;
const ABOVE = 6;
const BELOW = 34;
const LABEL_ROOM = 25; // pixels from the middle of a number to the middle of the next
const MOST_TICKS = 25;

export class Drawing {
  /**
   * @param {SVGSVGElement} svg empty
   * @param {{onLight: function(?number), onHold: function(number)}} told of the layer that the pointer or
   *   the focus is on, or null, and of the layer that is clicked or entered.
   */
  constructor(svg, { onLight, onHold }) {
    this.svg = svg;
    this.paths = Object.fromEntries(
      ["links", "path", "reads", "readers"].map((name) => [name, add(svg, "g", { class: `explore-${name}` })]),
    );
    this.labels = add(svg, "g", { class: "explore-labels", "aria-hidden": "true" });
    this.outputs = add(svg, "g", { class: "explore-outputs" });
    this.visited = null; // where the keyboard was last
    const nearest = (event) => this.outputAt(event.clientX - svg.getBoundingClientRect().left);
    svg.addEventListener("pointermove", (event) => onLight(nearest(event)));
    svg.addEventListener("pointerleave", () => onLight(this.focused()));
    svg.addEventListener("click", (event) => onHold(nearest(event)));
    // Not of the SVG itself: Chromium lets Tab stop at what listens to the focus.
    svg.parentElement.addEventListener("focusin", () => onLight(this.focused()));
    svg.parentElement.addEventListener("focusout", () => onLight(null));
    svg.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return; // such as the browser's "back"
      const output = Number(event.target.dataset.output);
      const last = this.setting.depth;
      const goal = { ArrowLeft: output - 1, ArrowRight: output + 1, Home: 0, End: last }[event.key];
      if (goal !== undefined) this.focus(Math.min(Math.max(goal, 0), last));
      else if (event.key === "Enter" || event.key === " ") onHold(output);
      else return;
      event.preventDefault();
    });
  }

  /** Draw a setting in `width` pixels; `describe` names an output for those who hear the page. */
  show(setting, width, describe) {
    const hadFocus = this.svg.contains(document.activeElement);
    const last = setting.depth;
    Object.assign(this, { setting, width });
    this.shortest = shortestPath(setting);
    this.gap = Math.min((width - 2 * MARGIN) / last, 110);
    this.left = (width - this.gap * last) / 2;
    this.rise = Math.min(Math.max(0.4 * width, 90), 280); // of the width alone: nothing below it moves
    this.line = ABOVE + this.rise;
    const height = this.line + BELOW;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);

    const links = range(1, last).map((layer) => inputs(setting, layer).map((source) => [source, layer]));
    this.longest = Math.max(...links.flat().map(([source, layer]) => layer - source));
    this.fill("links", ...links);
    // Where many arcs cross, each has to be fainter.
    this.paths.links.style.strokeOpacity = Math.min(1, Math.max(0.25, 12 / Math.sqrt(links.flat().length)));
    this.fill("path", this.shortest.slice(1).map((source, index) => [source, this.shortest[index]]));

    const radius = Math.min(Math.max(0.3 * this.gap, 1.7), 6);
    const tabStop = Math.min(this.visited ?? last, last);
    this.outputs.replaceChildren();
    for (const output of range(0, last)) {
      const option = add(this.outputs, "g", {
        role: "option",
        tabindex: output === tabStop ? 0 : -1,
        "aria-label": describe(output),
        "aria-selected": "false",
        "data-output": output,
        transform: `translate(${this.x(output)} ${this.line})`,
      });
      add(option, "circle", { class: "explore-ring", r: radius + 4 });
      add(option, "circle", { class: "explore-dot", r: radius });
    }
    if (hadFocus) this.focus(tabStop);
  }

  /** Light what `layer` reads and who reads it, or nothing where it is null; `held` is the layer kept lit. */
  light(layer, held) {
    const { setting } = this;
    const read = layer ? inputs(setting, layer) : [];
    const reading = layer === null ? [] : readers(setting, layer).filter((reader) => reader <= setting.depth);
    this.svg.classList.toggle("explore-lit", layer !== null);
    this.fill("reads", read.map((source) => [source, layer]));
    this.fill("readers", reading.map((reader) => [layer, reader]));
    for (const option of this.outputs.children) {
      const output = Number(option.dataset.output);
      option.setAttribute("aria-selected", output === held);
      option.classList.toggle("explore-on-path", this.shortest.includes(output));
      option.classList.toggle("explore-is-read", read.includes(output));
      option.classList.toggle("explore-is-reader", reading.includes(output));
      option.classList.toggle("explore-chosen", output === layer);
    }
    this.number(layer);
  }

  /** The output that the keyboard is on, or null. */
  focused() {
    const option = this.svg.querySelector("g:focus-visible");
    return option && Number(option.dataset.output);
  }

  focus(output) {
    const option = this.outputs.children[output];
    this.outputs.querySelector('[tabindex="0"]').setAttribute("tabindex", -1);
    option.setAttribute("tabindex", 0);
    option.focus();
    this.visited = output;
  }

  /** Write numbers below the line, the important ones first, each only where it has room. */
  number(layer) {
    const last = this.setting.depth;
    const step = [1, 2, 4, 8, 16].find((size) => size * this.gap >= LABEL_ROOM && last / size <= MOST_TICKS);
    const path = this.shortest.length * LABEL_ROOM < this.width / 2 ? this.shortest : [];
    const wanted = [layer ?? 0, 0, last, ...path, ...range(0, last).filter((output) => output % step === 0)];
    const placed = [];
    for (const output of wanted) {
      if (placed.every((other) => Math.abs(other - output) * this.gap >= LABEL_ROOM)) placed.push(output);
    }
    this.labels.replaceChildren();
    for (const output of placed) {
      const kind = output === layer ? "explore-chosen" : this.shortest.includes(output) ? "explore-on-path" : "";
      add(this.labels, "text", { x: this.x(output), y: this.line + 26, class: kind }).textContent = output;
    }
  }

  outputAt(x) {
    return Math.min(Math.max(Math.round((x - this.left) / this.gap), 0), this.setting.depth);
  }

  x(output) {
    return this.left + this.gap * output;
  }

  /** Draw groups of links `[source, layer]`, one path for each group. */
  fill(name, ...groups) {
    this.paths[name].replaceChildren();
    for (const links of groups.filter((group) => group.length)) {
      add(this.paths[name], "path", { d: links.map(([source, layer]) => this.arc(source, layer)).join("") });
    }
  }

  /** Half an ellipse. Height grows slower than length, so that short links stay visible beside long ones. */
  arc(source, layer) {
    const span = layer - source;
    const across = (this.gap * span) / 2;
    const up = Math.min(this.rise * (span / this.longest) ** 0.75, 1.2 * across);
    return `M${this.x(source)} ${this.line}A${across} ${up} 0 0 1 ${this.x(layer)} ${this.line}`;
  }
}

function add(parent, name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return parent.appendChild(element);
}
