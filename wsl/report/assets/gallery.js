"use strict";
// The gallery: which cards are shown in which order, and the controls that all of them follow.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const byId = (id) => document.getElementById(id);
const items = read("items");
const palettes = Object.fromEntries(Object.entries(read("palettes")).map(([name, data]) => [name, bytes(data)]));
const settings = read("settings");
const runs = settings.runs ?? [{ name: "", threshold: settings.boxes.threshold }];
const viewsOf = (item) => item.views ?? [item];
const adjustable = items.some((item) => viewsOf(item)[0]?.classes.some((entry) => entry.steps));
const marks = new Marks(settings.title, settings.boxes, adjustable);
const ownSteps = runs.map((run) => Math.round(run.threshold * 100));
const state = { steps: ownSteps, opacity: 0.55, truths: true, palette: "turbo" };
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
  const shownSteps = [...new Set(state.steps)].map((step) => (step / 100).toFixed(2)).join(" / ");
  for (const slider of document.querySelectorAll(".threshold")) slider.value = state.steps[0];
  for (const output of document.querySelectorAll(".threshold-shown")) output.textContent = shownSteps;
  for (const card of shown) card.draw();
  viewer?.draw();
}

function slide(step) {
  state.steps = runs.map(() => Math.min(Math.max(step, 0), 99));
  redraw();
}

function restoreSteps() {
  state.steps = ownSteps;
  redraw();
}

// Which of two runs is right about an annotated class; null if either has no outcome.
function agreement({ views: [first, second] }, label) {
  if (!first.known) return "not-first";
  if (!second.known) return "not-second";
  const outcomes = [first, second].map((view) => view.entries.get(label)?.outcome);
  if (outcomes.some((outcome) => !outcome || outcome === "not in the image")) return null;
  const [one, other] = outcomes.map((outcome) => outcome === "right");
  if (one === other) return one ? "both" : "neither";
  return one ? "first" : "second";
}

function agrees(card, label, wanted) {
  const found = agreement(card, label);
  return wanted === "differ" ? found === "first" || found === "second" : found === wanted;
}

// What the gallery is sorted by; null stands last.
function sortValue({ views, label }, key) {
  const [one, other] = views.map((view) => view.entries.get(label));
  if (!key.endsWith("difference")) return one?.[key] ?? null;
  const [first, second] = [one, other].map((entry) => entry?.[key.split("_")[0]] ?? null);
  return first === null || second === null ? null : first - second;
}

function arrange() {
  const label = byId("class").value, outcome = byId("outcome").value, name = byId("name").value.toLowerCase();
  const marked = byId("marked").value, agreed = byId("agreement")?.value;
  const fits = (card, own) => (!label || own === label)
    && (!outcome || card.views.some((view) => view.entries.get(own)?.outcome === outcome))
    && (!agreed || agrees(card, own, agreed))
    && (!marked || (card.markable(own) && (marks.of(card.item, own) ?? "none") === marked));
  const picky = label || outcome || marked || agreed;
  shown = cards.filter((card) => card.item.name.toLowerCase().includes(name)
    && (!picky || (card.labels.length ? card.labels : [undefined]).some((own) => fits(card, own))));
  for (const card of shown) {
    const match = card.labels.findIndex((own) => fits(card, own));
    if (picky && match >= 0 && match !== card.chosen) card.choose(match);
  }
  const [key, direction] = byId("sort").value.split("-");
  const sign = direction === "up" ? 1 : -1;
  if (key === "name") shown.sort((a, b) => a.item.name.localeCompare(b.item.name));
  else if (key !== "file") {
    const value = (card) => sortValue(card, key) ?? sign * Infinity;
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
  ",": () => slide(state.steps[0] - 1),
  ".": () => slide(state.steps[0] + 1),
  o: restoreSteps,
  c: () => { const card = viewer ?? shown[focused]; card?.choose((card.chosen + 1) % card.labels.length); },
  a: () => (viewer ?? shown[focused])?.mark("accept"),
  r: () => (viewer ?? shown[focused])?.mark("reject"),
  s: () => { if (marks.size) marks.save(state.steps[0]); },
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
for (const id of ["class", "outcome", "agreement", "marked", "sort", "name"]) byId(id)?.addEventListener("input", arrange);
for (const slider of document.querySelectorAll(".threshold"))
  slider.addEventListener("input", (event) => slide(Number(event.target.value)));
byId("own")?.addEventListener("click", restoreSteps);
byId("opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; redraw(); });
byId("palette").addEventListener("input", (event) => {
  state.palette = event.target.value;
  remember("palette", state.palette);
  redraw();
});
byId("save").addEventListener("click", () => marks.save(state.steps[0]));
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--controls", `${byId("controls").offsetHeight}px`);
}).observe(byId("controls"));
window.addEventListener("beforeprint", () => { for (const card of shown) card.show(); });
window.addEventListener("afterprint", arrange);

function fill(select, values) {
  for (const value of values) select.append(new Option(value, value));
}

const entries = items.flatMap(viewsOf).flatMap((view) => view?.classes ?? []);
fill(byId("class"), [...new Set(entries.map((entry) => entry.label))].sort());
fill(byId("outcome"), [...new Set(entries.map((entry) => entry.outcome).filter(Boolean))].sort());
const annotated = entries.some((entry) => entry.outcome);
for (const part of document.querySelectorAll("[data-annotated]")) part.hidden = !annotated;
fill(byId("palette"), Object.keys(palettes));
if (remember("palette") in palettes) state.palette = remember("palette");
byId("palette").value = state.palette;
if (remember("theme")) document.documentElement.dataset.theme = remember("theme");
arrange();
redraw();
countMarks();
