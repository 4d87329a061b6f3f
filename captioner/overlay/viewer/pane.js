// One picture with the map of one word over it and the scale below; two of them side by side compare words.
"use strict";

const FADE = 160; // milliseconds from one word's map to the next

class Pane {
  // stage holds the photo; size is the canvas size in pixels.
  constructor(owner, stage, size) {
    this.owner = owner;
    this.size = size;
    this.chosen = null; // the word that stays selected
    this.active = null; // the word in view: pointed at, or chosen
    this.levels = null;
    this.stage = stage;
    this.canvas = element("canvas", { width: 0, height: 0 });
    this.canvas.setAttribute("role", "img");
    stage.append(this.canvas);
    this.title = element("button", { type: "button", className: "pane-title", hidden: true });
    this.bar = element("div", { className: "bar" });
    this.node = element("div", { className: "pane" }, this.title, stage, this.bar);
  }

  // Update the picture to the current word and options.
  draw() {
    const { owner, active } = this;
    this.stage.classList.toggle("shown", active !== null);
    if (!owner.entry.words.length) return;
    const maps = owner.maps();
    const top = maps.top(active ?? 0);
    // The scale keeps its space while no word is in view, so that the words below do not move under the pointer.
    this.scale(maps, top);
    this.bar.classList.toggle("idle", active === null);
    if (active === null) {
      this.levels = null;
      this.canvas.setAttribute("aria-label", "No word is chosen");
      return;
    }
    const map = maps.of(active);
    const word = owner.entry.words[active];
    const label = `${maps.shownName()} of “${word.text}”: ${maps.where(map)}`;
    this.canvas.setAttribute("aria-label", [label, ...maps.missing()].join(". "));
    this.move(map.map((value) => value / top), maps, word.boxes);
  }

  scale(maps, top) {
    const { ends, even, notes } = legend(maps, top);
    const ramp = element("div", { className: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${stops(maps.signed).map(([, css]) => css).join(", ")})`;
    if (even !== null) {
      const mark = element("span", { className: "even" });
      mark.style.left = `${100 * even}%`;
      ramp.append(mark);
    }
    const labels = element("p", { className: "ends" }, ...ends.map((text) => element("span", { textContent: text })));
    if (this.owner.entry.words.some(({ boxes }) => boxes.length)) notes.push("Dashed lines: annotated boxes of what the word names.");
    this.bar.replaceChildren(ramp, labels, ...notes.map((text) => element("p", { className: "note", textContent: text })));
  }

  // Fade from the current levels to others.
  move(to, maps, boxes) {
    const from = this.levels?.length === to.length ? this.levels : null;
    const frame = (share) => {
      [this.canvas.width, this.canvas.height] = this.size;
      this.levels = share < 1 ? to.map((value, i) => from[i] + (value - from[i]) * share) : to;
      paint(this.canvas, this.owner.entry, maps.grid, this.levels, maps.signed);
      outline(this.canvas, boxes);
    };
    cancelAnimationFrame(this.frame);
    if (from === null || calm.matches) return frame(1);
    const begin = performance.now();
    const step = (now) => {
      const share = Math.min(Math.max((now - begin) / FADE, 0), 1);
      frame(share * (2 - share));
      if (share < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  // Release the canvas memory while the picture is out of sight.
  rest() {
    cancelAnimationFrame(this.frame);
    this.canvas.width = 0;
    this.levels = null;
  }
}
