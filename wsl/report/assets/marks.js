"use strict";
// Which classes of which images were accepted or rejected: kept by the browser for all pages of the report, and saved.

class Marks {
  // Opened from disk some browsers give no storage; marks then last as long as the page.
  constructor(title, settings, adjustable) {
    this.key = `wsl-report-marks-${location.pathname.replace(/[^/]*$/, "")}-${title}`;
    this.settings = settings;
    this.adjustable = adjustable;
    this.known = new Map();
    try {
      this.known = new Map(JSON.parse(localStorage.getItem(this.key) ?? "[]"));
    } catch { /* no storage, or something else in it */ }
  }

  get size() { return this.known.size; }

  of(item, label) { return this.known.get(JSON.stringify([item.path, label])); }

  toggle(item, label, mark) {
    const key = JSON.stringify([item.path, label]);
    if (this.known.get(key) === mark) this.known.delete(key); else this.known.set(key, mark);
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.known]));
    } catch { /* no storage */ }
  }

  // The slider steps in hundredths: where nobody moved it, the threshold is the exact one.
  document(step) {
    const { threshold, ...boxes } = this.settings;
    const still = step === Math.round(threshold * 100);
    const drawn = this.adjustable ? { threshold: still ? threshold : step / 100, ...boxes } : {};
    const marks = [...this.known].map(([key, mark]) => {
      const [image, label] = JSON.parse(key);
      return { image, class: label, mark };
    });
    return JSON.stringify({ boxes: drawn, marks }, null, 1);
  }

  save(step) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.document(step)], { type: "application/json" }));
    link.download = "reviewed.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}
