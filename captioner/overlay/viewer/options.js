// Display options of the page, which apply to all photos.
"use strict";

// methods: name and title of each, the largest number of layers and heads of any photo, and what some photo lacks.
function options(methods) {
  const redraw = () => shown.forEach((entry) => entry.draw());
  const on = (node, kind, change) => node.addEventListener(kind, () => (change(node), redraw()));
  const choice = (labels) => element("select", {}, ...labels.map(([value, text]) => element("option", { value, textContent: text })));
  const numbered = (count) => Array.from({ length: count }, (_, i) => [i + 1, String(i + 1)]);
  const first = methods.find(({ layers }) => layers) ?? methods[0]; // attention
  const method = choice(methods.map(({ name, title }) => [name, title]));
  const layer = choice([[0, "All"], ...numbered(first.layers)]);
  const head = choice([[0, "Mean of its heads"], ...numbered(first.heads)]);
  const allow = () => {
    layer.disabled = !methods.find(({ name }) => name === method.value).layers;
    head.disabled = layer.disabled || layer.value === "0";
  };
  on(method, "change", (node) => ((view.method = node.value), allow()));
  on(layer, "change", (node) => ((view.layer = Number(node.value)), allow()));
  on(head, "change", (node) => (view.head = Number(node.value)));
  allow();
  const radio = (value, text) => {
    const input = element("input", { type: "radio", name: "scale", value, checked: view.scale === value });
    on(input, "change", (node) => (view.scale = node.value));
    return element("label", {}, input, text);
  };
  const scale = element("fieldset", {}, element("legend", { textContent: "One scale per" }));
  scale.append(radio("caption", "caption"), radio("word", "word"));
  const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: view.opacity });
  on(opacity, "input", (node) => (view.opacity = Number(node.value)));
  const cells = element("input", { type: "checkbox" });
  on(cells, "change", (node) => (view.cells = node.checked));
  const form = element("form", {});
  form.addEventListener("submit", (event) => event.preventDefault());
  if (methods.length > 1) form.append(element("label", {}, "Method", method));
  form.append(element("label", {}, "Layer", layer), element("label", {}, "Head", head), scale);
  form.append(element("label", {}, "Opacity", opacity), element("label", {}, cells, "Show cells"));
  if (first.left_out) {
    const others = first.left_out === "heads" ? first.heads : first.layers; // other photos have them
    const note = leftOut(first.left_out);
    form.append(element("p", { className: "note", textContent: others ? note.replace("Single", "Of some photos single") : note }));
  }
  const details = element("details", { className: "options" }, element("summary", { textContent: "Display options" }), form);
  const wide = matchMedia("(min-width: 60rem)"); // as in viewer.css, where wide pages have no summary to open the options
  const unfold = () => (details.open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  return details;
}
