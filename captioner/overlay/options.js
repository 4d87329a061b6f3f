// The controls that hold for all photos of a page.
"use strict";

function options(layers, heads) {
  const change = (name, read) => (event) => {
    view[name] = read(event.target);
    shown.forEach((entry) => entry.draw());
  };
  const choice = (labels) => element("select", {}, ...labels.map((text, i) => element("option", { value: i, textContent: text })));
  const numbered = (count) => Array.from({ length: count }, (_, i) => String(i + 1));
  const layer = choice(["All", ...numbered(layers)]);
  const head = choice(["Mean", ...numbered(heads)]);
  head.disabled = true;
  layer.addEventListener("change", change("layer", (node) => {
    head.disabled = node.value === "0";
    return Number(node.value);
  }));
  head.addEventListener("change", change("head", (node) => Number(node.value)));
  const radio = (value, text) => {
    const input = element("input", { type: "radio", name: "scale", value, checked: view.scale === value });
    input.addEventListener("change", change("scale", (node) => node.value));
    return element("label", {}, input, text);
  };
  const scale = element("fieldset", {}, element("legend", { textContent: "Colours by" }));
  scale.append(radio("caption", "caption"), radio("word", "word"));
  const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: view.opacity });
  opacity.addEventListener("input", change("opacity", (node) => Number(node.value)));
  const cells = element("input", { type: "checkbox" });
  cells.addEventListener("change", change("cells", (node) => node.checked));
  const form = element("form", {});
  form.append(element("label", {}, "Layer", layer), element("label", {}, "Head", head), scale);
  form.append(element("label", {}, "Opacity", opacity), element("label", {}, cells, "Show cells"));
  const details = element("details", { className: "options" }, element("summary", { textContent: "Display options" }), form);
  const wide = matchMedia("(min-width: 60rem)"); // as in viewer.css: there the options have no summary to open them
  const unfold = () => (details.open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  return details;
}
