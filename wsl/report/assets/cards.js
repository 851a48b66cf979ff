"use strict";
// A card: an image with the results of one run, or of two runs side by side. Its views show the same class.

function create(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

function percent(value) { return value === null ? "–" : value.toFixed(2); }

// The results of one run for an image; known is null if the run does not have the image.
class View {
  constructor(item, known, run, fineness) {
    this.item = item;
    this.known = known;
    this.run = run;
    this.fineness = fineness;
    this.entries = new Map((known?.classes ?? []).map((entry) => [entry.label, entry]));
    this.stage = create("div", "stage");
    this.verdict = create("span", "verdict");
    this.marks = create("span", "marks");
    if (!runs[run].name) return;
    this.element = create("section", "view");
    this.element.classList.toggle("absent", !known);
    this.element.append(create("span", "run", runs[run].name), this.stage, this.verdict, this.marks);
  }

  choose(label) {
    this.label = label;
    this.entry = this.entries.get(label);
    const said = runs[this.run].name ? this.compared() : [];
    if (this.entry?.outcome) {
      const right = this.entry.outcome === "right";
      said.push(create("span", right ? "right" : "wrong", `${right ? "✓" : "✗"} ${this.entry.outcome}`));
      said.push(`IoU\u00a0${percent(this.entry.iou)}`);
    }
    this.verdict.replaceChildren(...said.flatMap((one, index) => (index ? [" · ", one] : [one])));
  }

  // What a pair says of a run besides the outcome, which a single run has in its chips.
  compared() {
    const { name } = runs[this.run], { entry } = this;
    if (!this.known) return [`image not in ${name}`];
    if (this.label === undefined) return [];
    if (!entry || (entry.score === null && !entry.localized)) return [`class not in the scores of ${name}`];
    return [percent(entry.score), ...(entry.localized || entry.outcome ? [] : ["not localized"])];
  }

  // The picture is decoded and drawn when the card comes into sight, and let go when it has left.
  show() {
    this.parts = makeFrame(this.item, this.fineness);
    this.parts.image.src = `data:image/webp;base64,${this.item.picture}`;
    this.stage.append(this.parts.frame);
  }

  hide() {
    this.parts = undefined;
    for (const entry of this.entries.values()) entry.heatmap = undefined;
    this.stage.replaceChildren();
  }

  draw() {
    const step = state.steps[this.run];
    drawHeat(this.parts.canvas, this.entry, palettes[state.palette], step / 100, state.opacity);
    drawShapes(this.parts.svg, this.item, this.label, this.entry, step, state.truths);
  }
}

class Card {
  constructor(item, fineness) {
    this.item = item;
    this.views = viewsOf(item).map((known, run) => new View(item, known, run, fineness));
    this.labels = [...new Set(this.views.flatMap((view) => [...view.entries.keys()]))];
    this.chosen = 0;
    this.element = create("figure", "card");
    this.element.tabIndex = 0;
    // A strip would be too low or too narrow to be seen.
    this.element.style.setProperty("--aspect", Math.min(Math.max(item.width / item.height, 0.6), 2.5));
    this.caption = create("figcaption", "caption");
    if (this.views.length > 1) {
      const pair = create("div", "pair");
      pair.append(...this.views.map((view) => view.element));
      this.element.classList.add("two");
      this.element.append(this.caption, pair);
    } else this.element.append(this.views[0].stage, this.caption);
    this.writeCaption();
  }

  get label() { return this.labels[this.chosen]; }

  // Marks are of the first run's boxes; a class that only the second run localized has none.
  markable(label) {
    const entry = this.views[0].entries.get(label);
    return entry !== undefined && (entry.localized !== false || entry.outcome !== null);
  }

  choose(index) {
    this.chosen = index;
    this.writeCaption();
    this.draw();
  }

  writeCaption() {
    for (const view of this.views) view.choose(this.label);
    const [{ verdict, marks: row }] = this.views;
    const title = create("span", "title", this.item.name);
    title.title = this.item.path;
    const chips = create("span", "chips");
    chips.append(...this.labels.map((label, index) => this.chip(label, index)));
    row.replaceChildren(...(this.markable(this.label) ? this.markButtons() : []));
    const below = this.labels.length ? [verdict, row] : [verdict];
    this.caption.replaceChildren(title, chips, ...(this.views.length > 1 ? [] : below));
  }

  chip(label, index) {
    const [entry] = this.views.flatMap((view) => view.entries.get(label) ?? []);
    const mark = marks.of(this.item, label), score = this.views.length > 1 ? "" : ` ${percent(entry.score)}`;
    const chip = create("button", "chip", `${{ accept: "✓ ", reject: "✗ " }[mark] ?? ""}${label}${score}`);
    chip.type = "button";
    if (mark) chip.dataset.mark = mark;
    chip.style.setProperty("--class", entry.colour);
    chip.setAttribute("aria-pressed", index === this.chosen);
    chip.addEventListener("click", (event) => { event.stopPropagation(); this.choose(index); });
    return chip;
  }

  markButtons() {
    const whose = runs[0].name && ` of ${runs[0].name}`;
    return [["accept", "✓ accept"], ["reject", "✗ reject"]].map(([mark, text]) => {
      const button = create("button", `mark ${mark}`, text);
      button.type = "button";
      button.title = `${mark} the boxes of ${this.label}${whose}`;
      button.setAttribute("aria-pressed", marks.of(this.item, this.label) === mark);
      button.addEventListener("click", (event) => { event.stopPropagation(); this.mark(mark); });
      return button;
    });
  }

  mark(mark) {
    if (!this.markable(this.label)) return;
    marks.toggle(this.item, this.label, mark);
    this.writeCaption();
    if (this === viewer) cards.find((card) => card.item === this.item).writeCaption();
    countMarks();
  }

  show() {
    if (this.views[0].parts) return;
    for (const view of this.views) view.show();
    this.draw();
  }

  hide() {
    for (const view of this.views) view.hide();
  }

  draw() {
    if (!this.views[0].parts) return;
    for (const view of this.views) view.draw();
  }
}
