// Makes one photo explorable: its words show where they looked. Text from outside is set as textContent only.
"use strict";

const FADE = 160; // milliseconds from one word's map to the next
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const shown = new Set(); // the entries in sight

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

class Entry {
  constructor(section, entry) {
    this.entry = entry;
    this.maps = new Maps(entry);
    this.chosen = null; // the word that stays shown
    this.active = null; // the word shown now: pointed at, or chosen
    this.levels = null;
    this.build(section);
  }

  build(section) {
    const { entry } = this;
    const stage = section.querySelector(".stage");
    const photo = stage.querySelector("img");
    const [width, height] = [Number(photo.getAttribute("width")), Number(photo.getAttribute("height"))];
    const most = Math.min(640, 5 * width); // small pictures are enlarged, but not without end
    stage.style.setProperty("--ratio", Math.min(Math.max(width / height, 1 / 12), 12));
    section.style.setProperty("--most", `${most}px`);
    this.stage = stage;
    this.canvas = element("canvas", { width: 0, height: 0 });
    this.canvas.setAttribute("role", "img");
    this.size = [Math.round(most), Math.max(1, Math.round((most * height) / width))];
    stage.append(this.canvas);

    const sentence = section.querySelector(".sentence");
    sentence.replaceChildren();
    sentence.setAttribute("role", "group");
    sentence.setAttribute("aria-label", "Words of the caption");
    this.buttons = entry.words.map((word, i) => this.button(word, i));
    entry.words.forEach((word, i) => sentence.append(word.gap, this.buttons[i]));
    sentence.append(entry.tail);
    sentence.addEventListener("pointerleave", () => this.show(this.chosen));
    sentence.addEventListener("keydown", (event) => this.key(event));

    this.readout = element("p", { className: "readout" });
    this.readout.setAttribute("aria-live", "polite");
    this.bar = element("div", { className: "bar", hidden: true });
    const key = element(
      "ul", { className: "key" },
      element("li", {}, meter("", 0.6), "probability of the word"),
      element("li", {}, meter("looked", 0.6), "its attention on the photo"),
    );
    const facts = element("div", { className: "facts" }, sentence, this.readout, this.bar, key);
    if (entry.references.length) facts.append(this.references());
    if (entry.words.length) facts.append(this.numbers());
    section.append(facts);
    section.classList.add("ready");
    this.show(null);
  }

  button(word, i) {
    const button = element("button", { type: "button", className: "word" }, element("span", { textContent: word.text }));
    button.append(meter("", Math.exp(word.logprob)), meter("looked", word.mass));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.show(i));
    button.addEventListener("click", () => this.choose(this.chosen === i ? null : i));
    // A mouse also focuses what it clicks; only the keyboard chooses by focus.
    button.addEventListener("focus", () => button.matches(":focus-visible") && this.choose(i));
    return button;
  }

  references() {
    const list = element("ul", {}, ...this.entry.references.map((text) => element("li", { textContent: text, dir: "auto" })));
    const what = this.entry.references.length === 1 ? "One reference" : `${this.entry.references.length} references`;
    return element("details", { className: "more" }, element("summary", { textContent: what }), list);
  }

  // The same facts as a table: for screen readers, and for whoever wants the numbers.
  numbers() {
    this.table = element("tbody");
    const heads = ["Word", "Probability", "Attention on the photo", "Most on one cell", "Where"];
    const row = element("tr", {}, ...heads.map((text) => element("th", { textContent: text, scope: "col" })));
    const table = element("table", {}, element("thead", {}, row), this.table);
    const details = element("details", { className: "more" }, element("summary", { textContent: "All words in numbers" }));
    details.append(element("div", { className: "scroll", tabIndex: 0 }, table));
    details.addEventListener("toggle", () => this.tabulate());
    this.details = details;
    return details;
  }

  tabulate() {
    if (!this.details?.open) return;
    this.table.replaceChildren(...this.entry.words.map((word, i) => {
      const map = this.maps.of(i);
      const mass = map.reduce((sum, value) => sum + value, 0);
      const cells = [percent(Math.exp(word.logprob)), percent(mass), percent(Math.max(...map)), place(this.entry, map)];
      const name = element("th", { textContent: word.text, scope: "row" });
      return element("tr", {}, name, ...cells.map((text) => element("td", { textContent: text })));
    }));
  }

  key(event) {
    const at = this.buttons.indexOf(document.activeElement);
    const last = this.buttons.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.choose(null);
    else if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    else this.buttons[Math.min(Math.max(to, 0), last)].focus();
    event.preventDefault();
  }

  choose(index) {
    this.chosen = index;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
    this.show(index);
  }

  show(index) {
    this.active = index;
    this.buttons.forEach((button, i) => button.classList.toggle("active", i === index));
    this.stage.classList.toggle("shown", index !== null);
    this.bar.hidden = index === null;
    this.draw();
  }

  // Brings picture and words up to date with the word and the options in view.
  draw() {
    this.tabulate();
    const { entry, active } = this;
    if (active === null) {
      this.levels = null;
      const hint = entry.words.length ? "Choose a word to see where it looked." : "The model wrote no words.";
      this.readout.replaceChildren(hint);
      return;
    }
    const map = this.maps.of(active);
    const top = this.maps.top(active);
    const word = entry.words[active];
    const mass = map.reduce((sum, value) => sum + value, 0);
    const peak = Math.max(...map);
    const where = place(entry, map);
    this.readout.replaceChildren(
      element("b", { textContent: word.text }),
      ` was ${percent(Math.exp(word.logprob))} probable. ${percent(mass)} of its attention fell on the photo, ` +
        `most at the ${where}: ${percent(peak)} on one cell.`,
    );
    this.canvas.setAttribute("aria-label", `Where “${word.text}” looked: most at the ${where}`);
    this.scale(top);
    this.move(map.map((value) => value / top), word.boxes);
  }

  scale(most) {
    const stops = Array.from({ length: 33 }, (_, i) => {
      const level = 3 * Math.round((i / 32) * 255);
      return `rgb(${colours[level]} ${colours[level + 1]} ${colours[level + 2]})`;
    });
    const ramp = element("div", { className: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
    const even = 1 / this.maps.cells;
    if (even < most) {
      const mark = element("span", { className: "even" });
      mark.style.left = `${(100 * even) / most}%`;
      ramp.append(mark);
    }
    const whose = view.scale === "word" ? "this word’s most" : "the caption’s most";
    const ends = element("p", { className: "ends" }, element("span", { textContent: "0" }));
    ends.append(element("span", { textContent: `${percent(most)}, ${whose}` }));
    const [rows, cols] = this.entry.grid;
    const note = `Attention on one of ${rows} × ${cols} cells. The mark is an even spread, ${percent(even)}.`;
    const notes = [note];
    const [top, left, bottom, right] = this.entry.view;
    if (Math.max(top, left, 1 - bottom, 1 - right) > 0.001) notes.push("Hatched parts were cropped away and not seen.");
    if (this.entry.words[this.active].boxes.length) notes.push("Dashed lines enclose what the word truly names.");
    this.bar.replaceChildren(ramp, ends, ...notes.map((text) => element("p", { className: "note", textContent: text })));
  }

  // Fades from the levels shown now to others.
  move(to, boxes) {
    const from = this.levels;
    const frame = (share) => {
      [this.canvas.width, this.canvas.height] = this.size;
      this.levels = share < 1 ? to.map((value, i) => from[i] + (value - from[i]) * share) : to;
      paint(this.canvas, this.entry, this.levels);
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

  // Gives the memory of the picture back while it is out of sight.
  rest() {
    cancelAnimationFrame(this.frame);
    this.canvas.width = 0;
    this.levels = null;
  }
}

function meter(kind, share) {
  const fill = element("i");
  fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  return element("span", { className: `meter ${kind}` }, fill);
}

// Makes the photo of a section explorable. The section holds .stage > img (with width and height) and .sentence.
function mount(section, data) {
  const entry = new Entry(section, data);
  new IntersectionObserver(([{ isIntersecting }]) => {
    shown[isIntersecting ? "add" : "delete"](entry);
    if (isIntersecting) entry.draw();
    else entry.rest();
  }).observe(section);
  return entry;
}
