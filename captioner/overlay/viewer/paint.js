// Painting of maps and scales on canvases.
"use strict";

// For each pixel along one axis: the two cells it lies between and the weight of the second; null outside the input.
function axis(pixels, span, seen, cells) {
  return Array.from({ length: pixels }, (_, i) => {
    const at = (i + 0.5) / pixels;
    if (at < seen[0] || at >= seen[1]) return null;
    const centre = ((at - span[0]) / (span[1] - span[0])) * cells;
    const position = Math.min(Math.max(view.cells ? Math.floor(centre) : centre - 0.5, 0), cells - 1);
    const low = Math.floor(position);
    return [low, Math.min(low + 1, cells - 1), position - low];
  });
}

// Paint levels (-1 to 1, [rows * cols]) over the whole photo.
function paint(canvas, entry, grid, levels, signed) {
  const { width, height } = canvas;
  const [rows, cols] = grid;
  const ys = axis(height, [entry.cells[0], entry.cells[2]], [entry.view[0], entry.view[2]], rows);
  const xs = axis(width, [entry.cells[1], entry.cells[3]], [entry.view[1], entry.view[3]], cols);
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
      const level = above * (1 - fy) + below * fy;
      const step = 3 * Math.round(255 * Math.min(signed ? Math.abs(level) : Math.max(level, 0), 1));
      const colours = !signed ? MAGMA : level < 0 ? AGAINST : FOR;
      image.data[at] = colours[step];
      image.data[at + 1] = colours[step + 1];
      image.data[at + 2] = colours[step + 2];
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

// Levels and colours from the left end of a scale to the right.
function stops(signed, count = 33) {
  return Array.from({ length: count }, (_, i) => {
    const share = i / (count - 1);
    return [share, css(signed ? 2 * share - 1 : share, signed)];
  });
}

// Contents of the scale: end labels, position of an even spread (0 to 1, or null), and the meaning of the colours.
function legend(maps, top) {
  const end = amount(top, maps.unit);
  const [rows, cols] = maps.grid;
  const cells = `one of ${rows} × ${cols} cells`;
  const even = 1 / maps.cells;
  const name = maps.shownName();
  const notes = [`The lightest colour is ${view.scale === "word" ? "this word’s" : "the caption’s"} maximum.`];
  if (maps.unit === "attention") notes.push(`${name}: share on ${cells}. The mark is an even spread, ${percent(even)}.`);
  else if (maps.unit === "nats") notes.push(`${name}: nats of the word’s log-probability due to ${cells}.`);
  else notes.push(`${name}: relevance of ${cells}, without a unit.`);
  notes.push(...maps.missing());
  if (maps.signed) notes.push("Orange: for the word; blue: against it.");
  const [above, left, below, right] = maps.entry.view;
  if (Math.max(above, left, 1 - below, 1 - right) > 0.001) notes.push("Hatched parts were cropped away.");
  return {
    ends: maps.signed ? [`−${end}`, "0", end] : ["0", end],
    even: maps.unit === "attention" && !maps.signed && even < top ? even / top : null,
    notes,
  };
}
