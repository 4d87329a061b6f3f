// Decoding of maps from bytes, and their description in words; page_maps.py describes the data.
"use strict";

const NINTHS = ["upper left", "top", "upper right", "left", "centre", "right", "lower left", "bottom", "lower right"];

// Maps of one caption by one method, as bytes: for each word its own map, then those of each layer and head.
class Maps {
  constructor(entry, method) {
    this.entry = entry;
    Object.assign(this, method); // name, title, unit, signed, grid, layers, heads, peaks, left_out, pooled
    this.each = Math.max(this.heads, 1); // maps per layer: those of its heads, or their mean
    this.cells = this.grid[0] * this.grid[1];
    this.bytes = Uint8Array.from(atob(method.maps), (character) => character.charCodeAt(0));
  }

  one(index) {
    const map = new Float32Array(this.cells);
    const [zero, unit] = this.signed ? [128, this.peaks[index] / 127] : [0, this.peaks[index] / 255];
    for (let i = 0; i < this.cells; i++) map[i] = (this.bytes[index * this.cells + i] - zero) * unit;
    return map;
  }

  // The map of a word at the layer and head in view, [rows * cols].
  of(word) {
    const { layers, heads, each } = this;
    const first = word * (1 + layers * each);
    const layer = Math.min(view.layer, layers);
    if (layer === 0) return this.one(first);
    const start = first + 1 + (layer - 1) * each;
    if (view.head > 0 && heads > 0) return this.one(start + Math.min(view.head, heads) - 1);
    const mean = new Float32Array(this.cells);
    for (let h = 0; h < each; h++) this.one(start + h).forEach((value, i) => (mean[i] += value / each));
    return mean;
  }

  // The value that gets the lightest colour.
  top(word) {
    const words = view.scale === "word" ? [word] : this.entry.words.keys();
    return Math.max(...Array.from(words, (i) => this.of(i).reduce((most, value) => Math.max(most, Math.abs(value)), 0))) || 1;
  }

  // Title of the maps in view: the method, and for attention the layer and head.
  shownName() {
    if (!this.layers || !view.layer) return this.title;
    const layer = Math.min(view.layer, this.layers);
    const head = view.head && this.heads ? `head ${Math.min(view.head, this.heads)}` : "mean of its heads";
    return `${this.title}, layer ${layer}, ${head}`;
  }

  // What the page lacks of these maps, in sentences.
  missing() {
    const notes = [];
    if (this.left_out && view.layer) notes.push(leftOut(this.left_out));
    if (this.pooled) notes.push(`Drawn on ${this.grid.join(" × ")} cells of ${this.pooled.join(" × ")}, to keep the page small.`);
    return notes;
  }

  // Share of a map's positive values in each ninth of the photo, [9].
  ninths(map) {
    const [rows, cols] = this.grid;
    const { view: seen, cells: span } = this.entry;
    const down = thirds(rows, span[0], span[2], seen[0], seen[2]);
    const across = thirds(cols, span[1], span[3], seen[1], seen[3]);
    const parts = new Array(9).fill(0);
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < cols; x++)
        for (let part = 0; part < 9; part++)
          parts[part] += Math.max(map[y * cols + x], 0) * down[y][Math.floor(part / 3)] * across[x][part % 3];
    const total = parts.reduce((sum, part) => sum + part, 0);
    return total > 0 ? parts.map((part) => part / total) : parts;
  }

  // Where on the photo a map is largest, in words.
  where(map) {
    const parts = this.ninths(map);
    const most = parts.indexOf(Math.max(...parts));
    if (parts[most] === 0) return "nowhere on the photo";
    const share = `${percent(parts[most])} of it`;
    if (parts[most] < 1.5 / 9) return `spread over the photo, most at the ${NINTHS[most]} (${share})`;
    return `strongest at the ${NINTHS[most]} (${share})`;
  }
}

function leftOut(what) {
  return `Single ${what === "heads" ? "heads" : "layers and heads"} were left out to keep the page small.`;
}

// Cell edges along one axis, as in geometry.py: border cells extend to the edges of the model's input.
function edges(cells, start, end, from, to) {
  return Array.from({ length: cells + 1 }, (_, i) => {
    if (i === 0) return from;
    if (i === cells) return to;
    return Math.min(Math.max(start + (i * (end - start)) / cells, from), to);
  });
}

// Share of each cell in each third of the photo along one axis.
function thirds(cells, start, end, from, to) {
  const ends = edges(cells, start, end, from, to);
  return Array.from({ length: cells }, (_, i) =>
    [0, 1, 2].map((third) => {
      const overlap = Math.min(ends[i + 1], (third + 1) / 3) - Math.max(ends[i], third / 3);
      return Math.max(overlap, 0) / Math.max(ends[i + 1] - ends[i], 1e-9);
    }),
  );
}

// Entropy of a map's positive values in bits: 0 on a single cell, log2(cells) if even.
function entropy(map) {
  const total = map.reduce((sum, value) => sum + Math.max(value, 0), 0);
  if (total <= 0) return 0;
  return Math.max(0, -map.reduce((sum, value) => (value > 0 ? sum + (value / total) * Math.log2(value / total) : sum), 0));
}
