"""Checks of a map and of the boxes drawn from it."""

from __future__ import annotations

import math

import numpy as np

from wsl.boxes import Boxes
from wsl.diagnosis.evidence import Evidence
from wsl.diagnosis.finding import Finding

# Shares of the image.
_RED, _SMALL = 0.75, 0.02
_LITTLE_CONTRAST = 0.1
_FEW_CELLS = 8
# In log-odds: how much more the probability must drop without the coldest quarter than without the hottest.
_CLEAR_LOSS = 0.5
# The least area of a second component, as a fraction of the largest, to count as another object.
_COMPARABLE = 0.25
# Thresholds at which components may split; at higher ones, parts of one object also separate.
_SPLITTING = (0.5, 0.65)


def blank(evidence: Evidence) -> Finding | None:
    """A map without contrast, which gives no boxes."""
    raw = evidence.raw
    if raw is None or not evidence.blank:
        return None
    if not np.isfinite(raw).all():
        lost = f"{int((~np.isfinite(raw)).sum())} of {raw.size} cells of the map of {evidence.label} are not finite."
        if evidence.arithmetic != "float32":
            return Finding("Blank map", lost, f"{evidence.arithmetic} overflows.", ("--precision", "fp32"))
        return Finding("Blank map", lost, "The weights are damaged, or the training has diverged: train again.")
    constant = f"the map of {evidence.label} is {float(raw.flat[0]):.3g} everywhere."
    if not raw.any() and evidence.method.startswith("by "):
        return Finding(
            "Blank map",
            constant,
            f"The method finds no evidence for {evidence.label} (maps are made {evidence.method}): choose a class that "
            "the image shows, another method, or no ReLU.",
            ("--cam", "gradcam(relu=false)"),
        )
    return Finding(
        "Blank map",
        constant,
        "The layer does not influence the scores, or nothing in the image does: wsl-info names a layer that does.",
    )


def inverted(evidence: Evidence) -> Finding | None:
    """A map whose coldest quarter matters more to the class than its hottest one."""
    if evidence.hidden is None or evidence.blank:
        return None
    nothing, hottest, coldest = (_logit(value) for value in evidence.hidden)
    if hottest - coldest < _CLEAR_LOSS or nothing - coldest < _CLEAR_LOSS:
        return None
    before, without_hot, without_cold = evidence.hidden
    return Finding(
        "Inverted map",
        f"the probability of {evidence.label} is {before:.3g}. Without the hottest quarter of the image it is "
        f"{without_hot:.3g}, without the coldest {without_cold:.3g}.",
        "The network recognises the class where the map is cold: it relies on the background, or the map comes from "
        "another layer. Use a method that reads gradients.",
        ("--cam", "layercam"),
    )


def everything_red(evidence: Evidence) -> Finding | None:
    """A map that exceeds the threshold in most of the image."""
    if evidence.score_map is None or evidence.raw is None or evidence.blank:
        return None
    share = evidence.above(evidence.threshold).share
    if share < _RED:
        return None
    what = f"{share:.0%} of the image exceeds the threshold {evidence.threshold:g}."
    if evidence.contrast < _LITTLE_CONTRAST:
        low, high = float(evidence.raw.min()), float(evidence.raw.max())
        return Finding(
            "Everything red",
            f"{what} The map has little contrast, {low:.3g} to {high:.3g}, which is stretched to the full range.",
            "Check by its probability whether the image shows the class.",
        )
    if evidence.refine != "none":
        do = f"Maps refined by {evidence.refine} are wide: raise the threshold, or use the unrefined map."
        return Finding("Everything red", what, do, ("--refine", "none"))
    rows, columns = evidence.raw.shape
    if min(rows, columns) < _FEW_CELLS and evidence.seen is not None:
        side = evidence.seen.pixels.shape[0]
        do = f"The map has {rows} x {columns} cells: a larger input gives more."
        return Finding("Everything red", what, do, ("--image-size", str(2 * side)))
    return Finding("Everything red", what, "Raise the threshold.", ("--threshold", f"{evidence.thresholds[2]:g}"))


def several_in_one(evidence: Evidence) -> Finding | None:
    """One box for several objects: its component splits, or another component of comparable size has no box."""
    if evidence.score_map is None or evidence.found is None or evidence.boxes.box_rule not in ("largest", "peak"):
        return None
    for threshold in sorted({evidence.threshold, *_SPLITTING}):
        if threshold < evidence.threshold:
            continue
        count = _comparable(evidence.components(threshold))
        if count > 1:
            rule = evidence.boxes.box_rule
            return Finding(
                "Box around two animals",
                f"at the threshold {threshold:g} the map has {count} components of comparable size, and the box rule "
                f"{rule} gives one box.",
                "If the image shows several objects, draw a box for each.",
                ("--box-rule", "all", "--threshold", f"{threshold:g}"),
            )
    return None


def too_small(evidence: Evidence) -> Finding | None:
    """No box although the map has contrast, or only boxes smaller than a fiftieth of the image."""
    if evidence.found is None or evidence.score_map is None or evidence.blank:
        return None
    lower = ("--threshold", f"{evidence.thresholds[0]:g}")
    if not len(evidence.found.boxes):
        return Finding(
            "Box too small",
            f"no component above {evidence.threshold:g} covers {evidence.boxes.min_area:g} of the image.",
            "Lower the threshold, or --min-area.",
            lower,
        )
    largest = float(evidence.share(evidence.found.boxes).max())
    if largest >= _SMALL:
        return None
    what = f"the largest box covers {largest:.1%} of the image."
    if evidence.refine == "none":
        return Finding("Box too small", what, "Lower the threshold, or refine the map.", lower)
    return Finding("Box too small", what, "Lower the threshold.", lower)


def _comparable(boxes: Boxes) -> int:
    """The number of boxes of comparable size to the largest."""
    return int((boxes.area >= _COMPARABLE * boxes.area.max()).sum()) if len(boxes) else 0


def _logit(probability: float) -> float:
    least = 1e-9
    bounded = min(max(probability, least), 1 - least)
    return math.log(bounded / (1 - bounded))
