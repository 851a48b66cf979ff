"use strict";
// One picture: the photograph, its heatmap, boxes and the map's maximum. No state but what it is given.

const SVG = "http://www.w3.org/2000/svg";

function bytes(base64) {
  const text = atob(base64);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// The boxes of a slider step: the last run that begins at it or before.
function boxesAt(entry, step) {
  if (!entry.steps) return entry.boxes;
  let found = [];
  for (const [first, boxes] of entry.steps) {
    if (first > step) break;
    found = boxes;
  }
  return found;
}

// Bilinear between cell centres, the border cells extended, as the boxes were made.
function interpolate(map, values, width, height) {
  const result = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const v = Math.min(Math.max(((y + 0.5) * map.height) / height - 0.5, 0), map.height - 1);
    const top = Math.floor(v), bottom = Math.min(top + 1, map.height - 1), down = v - top;
    for (let x = 0; x < width; x++) {
      const u = Math.min(Math.max(((x + 0.5) * map.width) / width - 0.5, 0), map.width - 1);
      const left = Math.floor(u), right = Math.min(left + 1, map.width - 1), along = u - left;
      const upper = values[top * map.width + left] * (1 - along) + values[top * map.width + right] * along;
      const lower = values[bottom * map.width + left] * (1 - along) + values[bottom * map.width + right] * along;
      result[y * width + x] = upper * (1 - down) + lower * down;
    }
  }
  return result;
}

function heatmapOf(entry, width, height) {
  const key = `${width}x${height}`;
  if (entry.heatmap?.key !== key) {
    const values = interpolate(entry.map, bytes(entry.map.values), width, height);
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const span = high > low ? high - low : 1;
    for (let i = 0; i < values.length; i++) values[i] = (values[i] - low) / span;
    entry.heatmap = { key, values };
  }
  return entry.heatmap.values;
}

// Above the threshold in full colour, below it faint: one sees what the slider cuts.
function drawHeat(canvas, entry, palette, threshold, opacity) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!entry?.map || opacity === 0) return;
  const values = heatmapOf(entry, canvas.width, canvas.height);
  const image = context.createImageData(canvas.width, canvas.height), { data } = image;
  for (let i = 0; i < values.length; i++) {
    const value = values[i], colour = 3 * Math.round(255 * value), at = 4 * i;
    // One by one: a subarray for each pixel takes most of the time of a slider's step.
    data[at] = palette[colour];
    data[at + 1] = palette[colour + 1];
    data[at + 2] = palette[colour + 2];
    data[at + 3] = 255 * opacity * (value > threshold ? 1 : 0.3) * Math.sqrt(value);
  }
  context.putImageData(image, 0, 0);
}

function shape(name, attributes, ...classes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.classList.add(...classes);
  return element;
}

function boxShapes([x0, y0, x1, y1], ...classes) {
  const place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  return [shape("rect", place, "box", "under"), shape("rect", place, "box", ...classes)];
}

function pointShapes([x, y], hit, size) {
  const arm = size / 40;
  const path = hit === false
    ? `M${x - arm},${y - arm}L${x + arm},${y + arm}M${x - arm},${y + arm}L${x + arm},${y - arm}`
    : `M${x - arm},${y}L${x + arm},${y}M${x},${y - arm}L${x},${y + arm}`;
  return [shape("path", { d: path }, "point-under"), shape("path", { d: path }, "point")];
}

function drawShapes(svg, item, label, entry, step, withTruths) {
  const shapes = [];
  if (withTruths) {
    for (const truth of item.truths) {
      if (label === undefined || truth.label === label)
        shapes.push(...boxShapes(truth.xyxy, "true", ...(truth.difficult ? ["difficult"] : [])));
    }
  }
  if (entry) {
    for (const box of boxesAt(entry, step)) shapes.push(...boxShapes(box, "predicted"));
    if (entry.point) shapes.push(...pointShapes(entry.point, entry.hit, Math.max(item.width, item.height)));
  }
  if (entry) svg.style.setProperty("--predicted", entry.colour);
  svg.replaceChildren(...shapes);
}

// A frame of the image's aspect, which the style fits into its stage; the canvas is as fine as needed and no finer.
function makeFrame(item, fineness) {
  const frame = document.createElement("div");
  frame.className = "frame";
  frame.style.setProperty("--true-aspect", item.width / item.height);
  const image = document.createElement("img");
  image.alt = item.name;
  image.decoding = "async";
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, fineness / Math.max(item.width, item.height));
  canvas.width = Math.max(1, Math.round(item.width * scale));
  canvas.height = Math.max(1, Math.round(item.height * scale));
  const svg = shape("svg", { viewBox: `0 0 ${item.width} ${item.height}`, preserveAspectRatio: "none" }, "shapes");
  frame.append(image, canvas, svg);
  return { frame, image, canvas, svg };
}
