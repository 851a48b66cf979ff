"use strict";
// The gallery: which cards are shown in which order, and the controls that all of them follow.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const byId = (id) => document.getElementById(id);
const items = read("items");
const palettes = Object.fromEntries(Object.entries(read("palettes")).map(([name, data]) => [name, bytes(data)]));
const settings = read("settings");
const adjustable = items.some((item) => item.classes.some((entry) => entry.steps));
const marks = new Marks(settings.title, settings.boxes, adjustable);
const state = { step: Math.round(settings.boxes.threshold * 100), opacity: 0.55, truths: true, palette: "turbo" };
let shown = [];
let focused = -1;

// Opened from disk some browsers give no storage; a choice then lasts as long as the page.
function remember(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(`wsl-report-${key}`);
    localStorage.setItem(`wsl-report-${key}`, value);
  } catch { /* no storage */ }
  return null;
}

function percent(value) { return value === null ? "–" : value.toFixed(2); }

class Card {
  constructor(item, fineness) {
    this.item = item;
    this.chosen = 0;
    this.fineness = fineness;
    this.element = document.createElement("figure");
    this.element.className = "card";
    this.element.tabIndex = 0;
    // A strip would be too low or too narrow to be seen.
    this.element.style.setProperty("--aspect", Math.min(Math.max(item.width / item.height, 0.6), 2.5));
    this.stage = document.createElement("div");
    this.stage.className = "stage";
    this.caption = document.createElement("figcaption");
    this.caption.className = "caption";
    this.element.append(this.stage, this.caption);
    this.writeCaption();
  }

  get entry() { return this.item.classes[this.chosen]; }

  choose(index) {
    this.chosen = index;
    this.writeCaption();
    this.draw();
  }

  writeCaption() {
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = this.item.name;
    title.title = this.item.path;
    const chips = document.createElement("span");
    chips.className = "chips";
    this.item.classes.forEach((entry, index) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip";
      const mark = marks.of(this.item, entry);
      chip.textContent = `${{ accept: "✓ ", reject: "✗ " }[mark] ?? ""}${entry.label} ${percent(entry.score)}`;
      if (mark) chip.dataset.mark = mark;
      chip.style.setProperty("--class", entry.colour);
      chip.setAttribute("aria-pressed", index === this.chosen);
      chip.addEventListener("click", (event) => { event.stopPropagation(); this.choose(index); });
      chips.append(chip);
    });
    const verdict = document.createElement("span");
    verdict.className = "verdict";
    if (this.entry?.outcome) {
      const word = document.createElement("span");
      word.className = this.entry.outcome === "right" ? "right" : "wrong";
      word.textContent = `${this.entry.outcome === "right" ? "✓" : "✗"} ${this.entry.outcome}`;
      verdict.append(word, ` · IoU ${percent(this.entry.iou)}`);
    }
    this.caption.replaceChildren(title, chips, verdict, ...(this.entry ? [this.markButtons()] : []));
  }

  markButtons() {
    const row = document.createElement("span");
    row.className = "marks";
    for (const [mark, text] of [["accept", "✓ accept"], ["reject", "✗ reject"]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = `mark ${mark}`;
      button.textContent = text;
      button.title = `${mark} the boxes of ${this.entry.label}`;
      button.setAttribute("aria-pressed", marks.of(this.item, this.entry) === mark);
      button.addEventListener("click", (event) => { event.stopPropagation(); this.mark(mark); });
      row.append(button);
    }
    return row;
  }

  mark(mark) {
    if (!this.entry) return;
    marks.toggle(this.item, this.entry, mark);
    this.writeCaption();
    if (this === viewer) cards.find((card) => card.item === this.item).writeCaption();
    countMarks();
  }

  // The picture is decoded and drawn when the card comes into sight, and let go when it has left.
  show() {
    if (this.parts) return;
    this.parts = makeFrame(this.item, this.fineness);
    this.parts.image.src = `data:image/webp;base64,${this.item.picture}`;
    this.stage.append(this.parts.frame);
    this.draw();
  }

  hide() {
    this.parts = undefined;
    for (const entry of this.item.classes) entry.surface = undefined;
    this.stage.replaceChildren();
  }

  draw() {
    if (!this.parts) return;
    drawHeat(this.parts.canvas, this.entry, palettes[state.palette], state.step / 100, state.opacity);
    drawShapes(this.parts.svg, this.item, this.entry, state.step, state.truths);
  }
}

const cards = items.map((item) => new Card(item, 240));
const cardOf = new Map(cards.map((card) => [card.element, card]));
const sight = new IntersectionObserver((changes) => {
  for (const change of changes) {
    const card = cardOf.get(change.target);
    if (change.isIntersecting) card.show(); else card.hide();
  }
}, { rootMargin: "400px" });
let viewer = null;

function countMarks() {
  byId("save").disabled = marks.size === 0;
  byId("save").textContent = marks.size ? `Save ${marks.size} mark${marks.size > 1 ? "s" : ""}` : "Save marks";
}

function redraw() {
  for (const slider of document.querySelectorAll(".threshold")) slider.value = state.step;
  for (const output of document.querySelectorAll(".threshold-shown")) output.textContent = (state.step / 100).toFixed(2);
  for (const card of shown) card.draw();
  viewer?.draw();
}

function arrange() {
  const label = byId("class").value, outcome = byId("outcome").value, name = byId("name").value.toLowerCase();
  const marked = byId("marked").value;
  const fits = (item, entry) => (!label || entry.label === label) && (!outcome || entry.outcome === outcome)
    && (!marked || (marks.of(item, entry) ?? "none") === marked);
  const picky = label || outcome || marked;
  shown = cards.filter(({ item }) => item.name.toLowerCase().includes(name)
    && (!picky || item.classes.some((entry) => fits(item, entry))));
  for (const card of shown) {
    const match = card.item.classes.findIndex((entry) => fits(card.item, entry));
    if (picky && match >= 0 && match !== card.chosen) card.choose(match);
  }
  const [key, direction] = byId("sort").value.split("-");
  const sign = direction === "up" ? 1 : -1;
  if (key === "name") shown.sort((a, b) => a.item.name.localeCompare(b.item.name));
  if (key === "score" || key === "iou") {
    const value = (card) => card.entry?.[key] ?? -sign * Infinity;
    shown.sort((a, b) => sign * (value(a) - value(b)) || 0);
  }
  byId("gallery").replaceChildren(...shown.map((card) => card.element));
  sight.disconnect();
  for (const card of shown) sight.observe(card.element);
  byId("count").textContent = `${shown.length} of ${cards.length} images`;
  focused = -1;
}

function focus(index) {
  if (!shown.length) return;
  focused = Math.min(Math.max(index, 0), shown.length - 1);
  shown[focused].element.focus();
  if (byId("viewer").open) enlarge(focused);
}

function enlarge(index) {
  focused = index;
  const card = shown[index];
  viewer = new Card(card.item, 640);
  viewer.chosen = card.chosen;
  viewer.writeCaption();
  byId("viewer-name").textContent = card.item.name;
  byId("viewer-facts").textContent = `${card.item.width} × ${card.item.height} · ${index + 1} of ${shown.length}`;
  byId("viewer-stage").replaceChildren(viewer.element);
  if (!byId("viewer").open) byId("viewer").showModal();
  viewer.show();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  setTheme(dark ? "light" : "dark");
}

const keys = {
  ArrowLeft: () => focus(focused - 1),
  ArrowRight: () => focus(focused + 1),
  Enter: () => { if (focused >= 0 && !byId("viewer").open) enlarge(focused); },
  ",": () => { state.step = Math.max(0, state.step - 1); redraw(); },
  ".": () => { state.step = Math.min(99, state.step + 1); redraw(); },
  c: () => { const card = viewer ?? shown[focused]; card?.choose((card.chosen + 1) % card.item.classes.length); },
  a: () => (viewer ?? shown[focused])?.mark("accept"),
  r: () => (viewer ?? shown[focused])?.mark("reject"),
  s: () => { if (marks.size) marks.save(state.step); },
  h: () => { state.opacity = state.opacity ? 0 : byId("opacity").value / 100 || 0.55; redraw(); },
  t: () => { state.truths = !state.truths; redraw(); },
  d: toggleTheme,
  "/": () => byId("name").focus(),
  "?": () => byId("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select");
  if (event.ctrlKey || event.metaKey || event.altKey || typing || !(event.key in keys)) return;
  if (event.key === "Enter" && event.target.matches("button, a, summary")) return;
  event.preventDefault();
  keys[event.key]();
});
byId("gallery").addEventListener("click", (event) => {
  const card = cardOf.get(event.target.closest(".card"));
  if (card) enlarge(shown.indexOf(card));
});
byId("gallery").addEventListener("focusin", (event) => {
  focused = shown.indexOf(cardOf.get(event.target.closest(".card")));
});
byId("viewer").addEventListener("close", () => { viewer = null; shown[focused]?.element.focus(); });
byId("viewer-close").addEventListener("click", () => byId("viewer").close());
byId("viewer-previous").addEventListener("click", () => focus(focused - 1));
byId("viewer-next").addEventListener("click", () => focus(focused + 1));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["class", "outcome", "marked", "sort", "name"]) byId(id).addEventListener("input", arrange);
for (const slider of document.querySelectorAll(".threshold"))
  slider.addEventListener("input", (event) => { state.step = Number(event.target.value); redraw(); });
byId("opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; redraw(); });
byId("palette").addEventListener("input", (event) => {
  state.palette = event.target.value;
  remember("palette", state.palette);
  redraw();
});
byId("save").addEventListener("click", () => marks.save(state.step));
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
window.addEventListener("beforeprint", () => { for (const card of shown) card.show(); });
window.addEventListener("afterprint", arrange);

function fill(select, values) {
  for (const value of values) select.append(new Option(value, value));
}

const entries = items.flatMap((item) => item.classes);
fill(byId("class"), [...new Set(entries.map((entry) => entry.label))].sort());
fill(byId("outcome"), [...new Set(entries.map((entry) => entry.outcome).filter(Boolean))].sort());
fill(byId("palette"), Object.keys(palettes));
if (remember("palette") in palettes) state.palette = remember("palette");
byId("palette").value = state.palette;
if (remember("theme")) document.documentElement.dataset.theme = remember("theme");
arrange();
redraw();
countMarks();
