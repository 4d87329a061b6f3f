// Turns the bytes of attention maps into numbers, places and colours on a photo; see page.py for the data.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const colours = Uint8Array.from(settings.colours.match(/../g), (hex) => parseInt(hex, 16)); // [256 * 3]
const [UNSEEN, UNSEEN_LINE, UNSEEN_STEP] = settings.unseen; // greys and line distance of what was cropped away

// What the reader chose, for all photos alike. Layer 0 is the map of the word itself, reduced over all layers and
// heads; layer n is the n-th, and head 0 its mean over heads.
const view = { layer: 0, head: 0, scale: settings.scale, opacity: settings.opacity, cells: false };

function percent(share) {
  const value = 100 * share;
  if (value >= 9.95) return `${value.toFixed(0)}%`;
  if (value >= 0.095) return `${value.toFixed(1)}%`;
  return value <= 0 ? "0%" : "<0.1%";
}

// The maps of one caption: for each word its own map, then those of each layer and head, as bytes of their maximum.
class Maps {
  constructor(entry) {
    this.entry = entry;
    this.cells = entry.grid[0] * entry.grid[1];
    this.bytes = Uint8Array.from(atob(entry.maps), (character) => character.charCodeAt(0));
  }

  one(index) {
    const map = new Float32Array(this.cells);
    const unit = this.entry.peaks[index] / 255;
    for (let i = 0; i < this.cells; i++) map[i] = this.bytes[index * this.cells + i] * unit;
    return map;
  }

  // The map of a word at the layer and head in view, [rows * cols], share of attention on each cell.
  of(word) {
    const { layers, heads } = this.entry;
    const first = word * (1 + layers * heads);
    const layer = Math.min(view.layer, layers);
    if (layer === 0) return this.one(first);
    const start = first + 1 + (layer - 1) * heads;
    if (view.head > 0) return this.one(start + Math.min(view.head, heads) - 1);
    const mean = new Float32Array(this.cells);
    for (let h = 0; h < heads; h++) this.one(start + h).forEach((value, i) => (mean[i] += value / heads));
    return mean;
  }

  // The attention that gets the lightest colour.
  top(word) {
    const words = view.scale === "word" ? [word] : this.entry.words.keys();
    return Math.max(...Array.from(words, (i) => Math.max(...this.of(i)))) || 1;
  }
}

// For each pixel along one axis the two cells it lies between and its share of the second; null beyond the view.
function axis(pixels, start, end, cells) {
  return Array.from({ length: pixels }, (_, i) => {
    const centre = (((i + 0.5) / pixels - start) / (end - start)) * cells;
    if (centre < 0 || centre >= cells) return null;
    const position = view.cells ? Math.floor(centre) : Math.min(Math.max(centre - 0.5, 0), cells - 1);
    const low = Math.floor(position);
    return [low, Math.min(low + 1, cells - 1), position - low];
  });
}

// Paints levels (0 to 1, [rows * cols]) over the whole photo.
function paint(canvas, entry, levels) {
  const { width, height } = canvas;
  const [rows, cols] = entry.grid;
  const [top, left, bottom, right] = entry.view;
  const ys = axis(height, top, bottom, rows);
  const xs = axis(width, left, right, cols);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const alpha = Math.round(view.opacity * 255);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      image.data[at + 3] = alpha;
      if (ys[y] === null || xs[x] === null) {
        image.data.fill((x + y) % UNSEEN_STEP === 0 ? UNSEEN_LINE : UNSEEN, at, at + 3);
        continue;
      }
      const [y0, y1, fy] = ys[y];
      const [x0, x1, fx] = xs[x];
      const above = levels[y0 * cols + x0] * (1 - fx) + levels[y0 * cols + x1] * fx;
      const below = levels[y1 * cols + x0] * (1 - fx) + levels[y1 * cols + x1] * fx;
      const level = 3 * Math.round(255 * Math.min(above * (1 - fy) + below * fy, 1));
      image.data[at] = colours[level];
      image.data[at + 1] = colours[level + 1];
      image.data[at + 2] = colours[level + 2];
    }
  }
  context.putImageData(image, 0, 0);
}

function outline(canvas, boxes) {
  const context = canvas.getContext("2d");
  for (const [style, width, dash] of [["#000a", 4, []], ["#fff", 2, [7, 5]]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.setLineDash(dash);
    for (const [top, left, bottom, right] of boxes) {
      context.strokeRect(
        left * canvas.width, top * canvas.height, (right - left) * canvas.width, (bottom - top) * canvas.height,
      );
    }
  }
}

// Where on the photo a map has its peak, in words.
function place(entry, map) {
  const [rows, cols] = entry.grid;
  const [top, left, bottom, right] = entry.view;
  const peak = map.indexOf(Math.max(...map));
  const y = top + ((Math.floor(peak / cols) + 0.5) / rows) * (bottom - top);
  const x = left + (((peak % cols) + 0.5) / cols) * (right - left);
  const third = (value) => Math.min(Math.max(Math.floor(value * 3), 0), 2);
  const names = ["upper left", "top", "upper right", "left", "centre", "right", "lower left", "bottom", "lower right"];
  return names[third(y) * 3 + third(x)];
}
