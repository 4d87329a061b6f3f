// One photo of the page: words that can be chosen, with their maps. Untrusted text is set as textContent only.
"use strict";

class Entry {
  constructor(section, entry) {
    this.section = section;
    this.entry = entry;
    this.known = new Map(); // maps by method name
    this.side = 0; // index of the picture that words change
    this.build();
  }

  maps() {
    const { methods } = this.entry;
    const method = methods.find((one) => one.name === view.method) ?? methods[0];
    if (!this.known.has(method.name)) this.known.set(method.name, new Maps(this.entry, method));
    return this.known.get(method.name);
  }

  build() {
    const { section, entry } = this;
    const stage = section.querySelector(".stage");
    const photo = stage.querySelector("img");
    const [width, height] = [Number(photo.getAttribute("width")), Number(photo.getAttribute("height"))];
    const most = Math.min(640, 5 * width); // small pictures are enlarged at most five times
    section.style.setProperty("--ratio", Math.min(Math.max(width / height, 1 / 12), 12));
    section.style.setProperty("--most", `${most}px`);
    const size = [Math.round(most), Math.max(1, Math.round((most * height) / width))];
    const figure = element("div", { className: "figure" });
    stage.before(figure);
    const second = element("div", { className: "stage" });
    this.panes = [new Pane(this, stage, size), new Pane(this, second, size)];
    this.panes.forEach((pane, side) => {
      pane.title.addEventListener("click", () => this.aim(side));
      pane.stage.addEventListener("click", () => this.two && this.aim(side));
    });
    figure.append(element("div", { className: "panes" }, this.panes[0].node), this.tools());
    this.figure = figure;
    this.two = false;

    this.sentence = section.querySelector(".sentence");
    this.readout = element("div", { className: "readout" });
    this.readout.setAttribute("aria-live", "polite");
    this.alternatives = element("div", { className: "alternatives", hidden: true });
    this.words();
    section.append(element("div", { className: "details" }, this.sentence, key(), this.readout, this.alternatives, ...this.more()));
    section.classList.add("ready");
    this.show(null);
  }

  words() {
    const { entry, sentence } = this;
    sentence.replaceChildren();
    sentence.setAttribute("role", "group");
    sentence.setAttribute("aria-label", "Words of the caption; arrow keys move from word to word");
    this.buttons = entry.words.map((word, i) => this.button(word, i));
    entry.words.forEach((word, i) => sentence.append(word.gap, this.buttons[i]));
    sentence.append(entry.tail);
    sentence.addEventListener("pointerleave", () => this.show(this.pane().chosen));
    sentence.addEventListener("keydown", (event) => this.key(event));
  }

  button(word, i) {
    const button = element("button", { type: "button", className: "word" }, element("span", { textContent: word.text }));
    button.append(meter("", Math.exp(word.logprob)), meter("attention", word.mass));
    button.setAttribute("aria-pressed", "false");
    button.tabIndex = i ? -1 : 0; // one tab stop for all words; arrow keys move among them
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.show(i));
    button.addEventListener("click", () => this.choose(this.pane().chosen === i && !this.two ? null : i));
    // A click also focuses; only keyboard focus chooses.
    button.addEventListener("focus", () => button.matches(":focus-visible") && this.choose(i));
    return button;
  }

  tools() {
    const compare = element("button", { type: "button", textContent: "Compare two words" });
    compare.setAttribute("aria-pressed", "false");
    compare.disabled = this.entry.words.length < 2;
    compare.addEventListener("click", () => {
      this.compare(!this.two);
      compare.setAttribute("aria-pressed", String(this.two));
    });
    const save = element("button", { type: "button", textContent: "Save as PNG" });
    save.addEventListener("click", () => savePicture(this));
    return element("div", { className: "tools" }, compare, save);
  }

  more() {
    const { entry } = this;
    if (!entry.words.length) return entry.references.length ? [listOf("references", "reference", entry.references)] : [];
    const parts = [];
    if (entry.others.length) parts.push(others(entry));
    if (entry.references.length) parts.push(listOf("references", "reference", entry.references));
    this.numbers = new Numbers(this);
    return [...parts, this.numbers.node];
  }

  pane() {
    return this.panes[this.side];
  }

  // Show two pictures side by side, or one.
  compare(two) {
    const [left, right] = this.panes;
    if (two && !right.stage.querySelector("img")) right.stage.prepend(left.stage.querySelector("img").cloneNode());
    this.two = two;
    this.section.classList.toggle("two", two);
    if (two) {
      left.node.after(right.node);
      const last = this.entry.words.length - 1;
      left.chosen = left.active = left.chosen ?? Math.min(this.entry.start ?? 0, last);
      right.chosen = right.active = left.chosen < last ? last : Math.min(this.entry.start ?? 0, last - 1);
    } else right.node.remove();
    this.panes.forEach((pane) => (pane.title.hidden = !two));
    this.aim(two ? 1 : 0);
  }

  // Set which of two pictures the words change.
  aim(side) {
    this.side = side;
    this.panes.forEach((pane, i) => {
      pane.title.setAttribute("aria-pressed", String(i === side));
      pane.node.classList.toggle("aimed", this.two && i === side);
    });
    this.show(this.pane().chosen);
  }

  key(event) {
    const at = this.buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.buttons.length - 1 }[event.key];
    if (event.key === "Escape") this.choose(null);
    else if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    else this.focus(to);
    event.preventDefault();
  }

  // Move one word forward or back from the current one.
  step(by) {
    if (this.buttons.length) this.focus((this.pane().chosen ?? (by > 0 ? -1 : this.buttons.length)) + by);
  }

  focus(index) {
    const to = Math.min(Math.max(index, 0), this.buttons.length - 1);
    this.buttons[to].focus();
    this.choose(to);
  }

  choose(index) {
    this.pane().chosen = index;
    if (index !== null) this.buttons.forEach((button, i) => (button.tabIndex = i === index ? 0 : -1));
    this.show(index);
  }

  show(index) {
    const pane = this.pane();
    pane.active = index;
    const [left, right] = this.panes;
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(left.chosen === i || (this.two && right.chosen === i)));
      button.classList.toggle("active", i === index);
      button.classList.toggle("other", this.two && this.panes[1 - this.side].chosen === i);
    });
    this.draw(pane);
  }

  // Update pictures and words to the current words and options.
  draw(pane = null) {
    const panes = this.two ? this.panes : this.panes.slice(0, 1);
    panes.forEach((one) => (pane === null || one === pane) && one.draw());
    this.numbers?.fill();
    const active = panes.filter(({ active }) => active !== null);
    panes.forEach((one, side) => {
      const word = this.entry.words[one.active];
      one.title.textContent = `${side ? "Right" : "Left"}: ${word ? word.text : "choose a word"}`;
    });
    const hint = this.entry.words.length ? "Choose a word to see its map." : "The caption has no words.";
    this.readout.replaceChildren(...(active.length ? active.map((one) => description(this, one.active)) : [element("p", { textContent: hint })]));
    alternatives(this.alternatives, this.entry.words[this.pane().active]);
  }

  rest() {
    this.panes.forEach((pane) => pane.rest());
  }
}

// Attach the viewer to a section, which holds .stage > img (with width and height) and .sentence.
function mount(section, data) {
  const entry = new Entry(section, data);
  new IntersectionObserver(([{ isIntersecting }]) => {
    shown[isIntersecting ? "add" : "delete"](entry);
    if (isIntersecting) entry.draw();
    else entry.rest();
  }).observe(section);
  return entry;
}
