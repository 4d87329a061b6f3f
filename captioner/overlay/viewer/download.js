// Export of the current view as one PNG: photo, map, word, scale and caption, in the page's colours.
"use strict";

const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
const SERIF = 'Palatino, Charter, Georgia, "Liberation Serif", serif';
const MARGIN = 24;

function wrapped(context, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

// A canvas with the current view of an entry.
function picture(owner) {
  const css = getComputedStyle(document.documentElement);
  const [paper, ink, quiet] = ["--paper", "--ink", "--quiet"].map((name) => css.getPropertyValue(name));
  const panes = owner.two ? owner.panes : owner.panes.slice(0, 1);
  const [width, height] = owner.panes[0].size;
  const column = Math.max(width, 320);
  const canvas = element("canvas", { width: panes.length * (column + MARGIN) + MARGIN, height: 1 });
  const context = canvas.getContext("2d");
  const inner = canvas.width - 2 * MARGIN;
  const name = owner.section.querySelector("h2").textContent;

  // Setting a canvas's height clears it: the first pass measures the height, the second draws.
  const lay = () => {
    context.fillStyle = paper;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.textBaseline = "alphabetic";
    const text = (what, x, y, font, colour, align = "left") => {
      context.font = font;
      context.fillStyle = colour;
      context.textAlign = align;
      context.fillText(what, x, y);
    };
    let bottom = 0;
    panes.forEach((pane, i) => {
      const x = MARGIN + i * (column + MARGIN);
      let y = MARGIN;
      context.drawImage(pane.stage.querySelector("img"), x, y, width, height);
      y += height;
      if (pane.active === null) return (bottom = Math.max(bottom, y));
      context.drawImage(pane.canvas, x, MARGIN, width, height);
      const word = owner.entry.words[pane.active];
      const maps = owner.maps();
      text(word.text, x, (y += 34), `600 22px ${SANS}`, ink);
      const facts = `probability ${percent(Math.exp(word.logprob))} · ${maps.where(maps.of(pane.active))}`;
      text(facts, x, (y += 22), `14px ${SANS}`, quiet);
      const { ends, even, notes } = legend(maps, maps.top(pane.active));
      const gradient = context.createLinearGradient(x, 0, x + 320, 0);
      stops(maps.signed).forEach(([share, css]) => gradient.addColorStop(share, css));
      context.fillStyle = gradient;
      context.fillRect(x, (y += 14), 320, 10);
      if (even !== null) {
        context.fillStyle = ink;
        context.fillRect(x + 320 * even - 1, y - 3, 2, 16);
      }
      y += 28;
      ends.forEach((label, n) => {
        const share = n / (ends.length - 1);
        text(label, x + 320 * share, y, `13px ${SANS}`, quiet, ["left", "center", "right"][2 * share]);
      });
      context.font = `13px ${SANS}`;
      for (const line of notes.flatMap((note) => wrapped(context, note, column))) text(line, x, (y += 19), `13px ${SANS}`, quiet);
      bottom = Math.max(bottom, y);
    });
    let y = bottom + 12;
    context.font = `24px ${SERIF}`;
    const caption = owner.sentence.textContent.trim() || "(no words)";
    for (const line of wrapped(context, caption, inner)) text(line, MARGIN, (y += 30), `24px ${SERIF}`, ink);
    text(name, MARGIN, (y += 24), `13px ${SANS}`, quiet);
    return y + MARGIN;
  };
  canvas.height = lay();
  lay();
  return canvas;
}

function savePicture(owner) {
  const safe = (text) => text.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60);
  const name = owner.section.querySelector("h2").textContent.replace(/^.*[\\/]/, "").replace(/\.\w+$/, "");
  const words = (owner.two ? owner.panes : [owner.panes[0]]).map(({ active }) => owner.entry.words[active]?.text ?? "");
  picture(owner).toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    element("a", { href: url, download: `${[name, ...words].map(safe).filter(Boolean).join("-") || "picture"}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }, "image/png");
}
