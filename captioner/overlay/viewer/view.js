// State of the whole page: settings and chosen options; formatting of numbers and colours.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const table = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16)); // [256 * 3]
const [MAGMA, FOR, AGAINST] = settings.colours.map(table);
const [UNSEEN, UNSEEN_LINE, UNSEEN_STEP] = settings.unseen; // greys and line distance of the hatching of cropped parts
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// Chosen options, for all photos. Layer 0 is the word's own map, reduced over all layers and heads; layer n is the
// n-th, and head 0 its mean over heads.
const view = { method: null, layer: 0, head: 0, scale: settings.scale, opacity: settings.opacity, cells: false };
const shown = new Set(); // the entries in sight

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function percent(share) {
  const value = 100 * share;
  if (value >= 9.95) return `${value.toFixed(0)}%`;
  if (value >= 0.095) return `${value.toFixed(1)}%`;
  return value <= 0 ? "0%" : "<0.1%";
}

// Two significant digits; see numbers.py.
function twoDigits(value) {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size === 0) return "0";
  if (!(size >= 0.0000995 && size < 999500)) return sign + size.toExponential(1).replace("+", "");
  return sign + size.toFixed(Math.max(0, 1 - Math.floor(Math.log10(size * 1.0000001))));
}

function amount(value, unit) {
  if (unit === "attention") return percent(value);
  return twoDigits(value) + (unit === "nats" ? " nats" : "");
}

// The colour table of a level (-1 to 1) and the index in it.
function colour(level, signed) {
  const step = 3 * Math.round(255 * Math.min(Math.abs(level), 1));
  if (!signed) return [MAGMA, level < 0 ? 0 : step];
  return [level < 0 ? AGAINST : FOR, step];
}

function css(level, signed) {
  const [colours, at] = colour(level, signed);
  return `rgb(${colours[at]} ${colours[at + 1]} ${colours[at + 2]})`;
}
