// Panel beside a photo: facts about a word, alternatives to it, other captions, and a table of all words.
"use strict";

function meter(kind, share) {
  const fill = element("i");
  fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  return element("span", { className: `meter ${kind}` }, fill);
}

function key() {
  return element(
    "ul", { className: "key" },
    element("li", {}, meter("", 0.6), "probability of the word"),
    element("li", {}, meter("attention", 0.6), "its attention on the photo"),
  );
}

// A word and its map in sentences.
function description(owner, index) {
  const maps = owner.maps();
  const map = maps.of(index);
  const word = owner.entry.words[index];
  const most = amount(Math.max(...map), maps.unit);
  const where = maps.where(map);
  let text = `: probability ${percent(Math.exp(word.logprob))}. `;
  if (maps.unit === "attention") {
    const mass = map.reduce((sum, value) => sum + value, 0);
    const bits = entropy(map);
    text +=
      `${percent(mass)} of its attention is on the photo, ${where}; at most ${most} on one cell. ` +
      `As spread out as ${Math.round(2 ** bits)} of ${maps.cells} cells (entropy ${twoDigits(bits)} bits).`;
  } else text += `${maps.title}: ${where}; at most ${most} from one cell.`;
  return element("p", {}, element("b", { textContent: word.text }), text);
}

// The most probable tokens at the position of a word.
function alternatives(node, word) {
  const tokens = word?.alternatives ?? [];
  node.hidden = !tokens.length;
  if (!tokens.length) return;
  const row = ([text, logprob]) => {
    const name = text === "" ? element("em", { textContent: "(end)" }) : element("span", { textContent: text, dir: "auto" });
    const share = Math.exp(logprob);
    const item = element("li", { className: text === word.text ? "own" : "" }, name, meter("", share));
    item.append(element("span", { className: "number", textContent: percent(share) }));
    return item;
  };
  const label = element("p", { className: "label" }, "Most probable in place of ", element("b", { textContent: word.text }));
  node.replaceChildren(label, element("ol", {}, ...tokens.map(row)));
}

function fold(summary, content) {
  return element("details", { className: "more" }, element("summary", { textContent: summary }), content);
}

function listOf(many, one, texts) {
  const items = texts.map((text) => element("li", { textContent: text, dir: "auto" }));
  return fold(texts.length === 1 ? `One ${one}` : `${texts.length} ${many}`, element("ul", {}, ...items));
}

// The other hypotheses of the search, each with its score.
function others(entry) {
  const row = (text, score) => {
    const item = element("li", {}, element("span", { textContent: text || "(no words)", dir: "auto" }));
    item.append(" ", element("span", { className: "number", textContent: twoDigits(score) }));
    return item;
  };
  const list = element("ul", {}, ...entry.others.map(([text, score]) => row(text, score)));
  const note = element("p", { className: "label", textContent: `Scores: ${twoDigits(entry.score)} for the chosen caption; higher is better.` });
  const count = entry.others.length;
  return fold(count === 1 ? "One other caption of the search" : `${count} other captions of the search`,
    element("div", {}, list, note));
}

// The same facts as a table, for screen readers and for exact numbers.
class Numbers {
  constructor(owner) {
    this.owner = owner;
    this.body = element("tbody");
    const heads = ["Word", "Probability", "Sum", "Most on one cell", "Entropy, bits", "Where"];
    const row = element("tr", {}, ...heads.map((text) => element("th", { textContent: text, scope: "col" })));
    this.caption = element("caption", {});
    const table = element("table", {}, this.caption, element("thead", {}, row), this.body);
    this.node = fold("All words in numbers", element("div", { className: "scroll", tabIndex: 0 }, table));
    this.node.addEventListener("toggle", () => this.fill());
  }

  fill() {
    if (!this.node.open) return;
    const maps = this.owner.maps();
    this.caption.textContent = maps.shownName();
    this.body.replaceChildren(...this.owner.entry.words.map((word, i) => {
      const map = maps.of(i);
      const sum = amount(map.reduce((total, value) => total + value, 0), maps.unit);
      const cells = [percent(Math.exp(word.logprob)), sum, amount(Math.max(...map), maps.unit), twoDigits(entropy(map)), maps.where(map)];
      const name = element("th", { textContent: word.text, scope: "row" });
      return element("tr", {}, name, ...cells.map((text) => element("td", { textContent: text })));
    }));
  }
}
