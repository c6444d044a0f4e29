// A setting in the address: read from the fragment and written to it, with one sentence for each bad part.

import { MERGES, RULES } from "./rules.js";

export const DEPTH = { least: 1, most: 64 };
export const BASE = { least: 2, most: 8 };
const START = { depth: 12, rule: "sparse", base: 2, offsets: [1, 2, 3, 5, 8], merge: "concat", layer: null };

/** Return `{setting, layer, problems}`: `layer` is the one held, or null; `problems` are sentences. */
export function readFragment(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const found = { ...START };
  const problems = [];
  const read = (name, parse) => {
    if (!given.has(name)) return;
    try {
      found[name] = parse(name, given.get(name));
    } catch (error) {
      problems.push(error.message);
    }
  };
  read("depth", integerIn(DEPTH));
  read("rule", oneOf(RULES));
  read("base", integerIn(BASE));
  read("offsets", (_, text) => readOffsets(text));
  read("merge", oneOf(MERGES));
  read("layer", integerIn({ least: 0, most: found.depth }));
  const { layer, ...setting } = found;
  return { setting: consistent(setting), layer, problems };
}

/** A ResNet is the dense rule with a sum, so it leaves no choice of merge. */
export function consistent(setting) {
  return setting.rule === "resnet" ? { ...setting, merge: "sum" } : setting;
}

export function writeFragment({ depth, rule, base, offsets, merge }, layer) {
  const parts = [`depth=${depth}`, `rule=${rule}`];
  if (rule === "sparse") parts.push(`base=${base}`);
  if (rule === "own") parts.push(`offsets=${offsets.join(",")}`);
  parts.push(`merge=${merge}`);
  if (layer !== null) parts.push(`layer=${layer}`);
  return `#${parts.join("&")}`;
}

/** Return the offsets that `text` lists, ascending; an Error says what is wrong with it. */
export function readOffsets(text) {
  const words = text.split(/[\s,]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d+$/.test(word) || +word < 1 || +word > DEPTH.most);
  if (wrong !== undefined || !words.length) {
    throw new Error(`offsets must be integers from 1 to ${DEPTH.most}, such as 1, 2, 4; got ${wrong ?? "none"}.`);
  }
  const offsets = words.map(Number).sort((a, b) => a - b);
  const twice = offsets.find((offset, index) => offset === offsets[index + 1]);
  if (twice !== undefined) throw new Error(`offsets must differ from each other; got ${twice} more than once.`);
  if (offsets[0] !== 1) {
    throw new Error(`offsets must contain 1, or layer 1 would read nothing; got ${offsets.join(", ")}.`);
  }
  return offsets;
}

function integerIn({ least, most }) {
  return (name, text) => {
    const number = /^-?\d+$/.test(text) ? Number(text) : NaN;
    if (number >= least && number <= most) return number;
    throw new Error(`${name} must be an integer from ${least} to ${most}, got ${text}.`);
  };
}

function oneOf(names) {
  return (name, text) => {
    if (names.includes(text)) return text;
    throw new Error(`${name} must be one of ${names.join(", ")}; got ${text}.`);
  };
}
