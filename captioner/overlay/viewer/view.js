// What holds for the whole page: its settings, what the reader chose to see, and how numbers are written.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const table = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16)); // [256 * 3]
const [MAGMA, FOR, AGAINST] = settings.colours.map(table);
const [UNSEEN, UNSEEN_LINE, UNSEEN_STEP] = settings.unseen; // greys and line distance of what was cropped away
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// What the reader chose, for all photos alike. Layer 0 is the map of the word itself, reduced over all layers and
// heads; layer n is the n-th, and head 0 its mean over heads.
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

// A number with two meaningful digits; see numbers.py.
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

// The place of a level (-1 to 1) in a colour table.
function colour(level, signed) {
  const step = 3 * Math.round(255 * Math.min(Math.abs(level), 1));
  if (!signed) return [MAGMA, level < 0 ? 0 : step];
  return [level < 0 ? AGAINST : FOR, step];
}

function css(level, signed) {
  const [colours, at] = colour(level, signed);
  return `rgb(${colours[at]} ${colours[at + 1]} ${colours[at + 2]})`;
}
