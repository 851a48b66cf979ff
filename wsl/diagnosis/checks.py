"""Checks of an image's result in the order of processing; the first one that applies usually explains the others.

A check is a function that returns a `Finding` for the evidence, or None if nothing is wrong. The thresholds catch only
clear cases; others are left to visual inspection.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wsl.diagnosis.evidence import Evidence
from wsl.diagnosis.failures import download_failed, out_of_memory, unreadable
from wsl.diagnosis.finding import Finding
from wsl.diagnosis.map_checks import blank, everything_red, inverted, several_in_one, too_small

Check = Callable[[Evidence], Finding | None]

# The smallest range of values, of 255; a picture with less is nearly uniform.
_LEAST_RANGE = 26
# The least ratio of the odds of the best class to those of the median class; trained networks reach hundreds.
_LEAST_ODDS = 2.0
_ABSENT, _PRESENT = 0.1, 0.9
_MOST_SQUASHED, _MOST_ENLARGED = 2.0, 3.0
_SLOW = 1.0


def flat_picture(evidence: Evidence) -> Finding | None:
    """Pixels of nearly one value, such as 12-bit values in a 16-bit file."""
    if evidence.decoded is None:
        return None
    pixels, facts = evidence.decoded
    low, high = int(pixels.min()), int(pixels.max())
    if high - low >= _LEAST_RANGE:
        return None
    deep = facts.mode.startswith("I;16") or facts.mode == "I"
    do = (
        "The file has 16 bits a pixel and does not use the upper ones: stretch its values to the full range."
        if deep
        else "Look at the picture: is it the right file, and is it correctly exposed?"
    )
    values = f"have the value {low}" if low == high else f"lie between {low} and {high}"
    return Finding("Flat picture", f"all pixels {values} of 255.", do)


def scores_lost(evidence: Evidence) -> Finding | None:
    """Scores that are not finite."""
    lost = [name for name, value in evidence.scores.items() if not math.isfinite(value)]
    if not lost:
        return None
    return Finding(
        "Blank map",
        f"the scores of {len(lost)} of {len(evidence.scores)} classes are not finite.",
        "The weights are damaged, or the training has diverged: train again with a lower --lr.",
    )


def scores_alike(evidence: Evidence) -> Finding | None:
    """Probabilities that hardly differ between classes, without a confident one."""
    values = sorted(evidence.scores.values(), reverse=True)
    if scores_lost(evidence) or len(values) < 2 or (not evidence.exclusive and not _ABSENT <= values[0] <= _PRESENT):
        return None
    best, middle = values[0], values[len(values) // 2]
    if _odds(best) >= _LEAST_ODDS * _odds(middle):
        return None
    return Finding(
        "All scores alike",
        f"the best class has the probability {best:.3g}, the median class {middle:.3g}.",
        "The weights are random, or those of another network: give trained weights, and compare the size, mean and "
        "std of the input with those of the training.",
    )


def nothing_recognised(evidence: Evidence) -> Finding | None:
    """Independent class probabilities that are all near 0."""
    best = max(evidence.scores.values(), default=1.0)
    if scores_lost(evidence) or evidence.exclusive or best >= _ABSENT:
        return None
    return Finding(
        "All scores alike",
        f"no class has a probability above {best:.3g}: according to the model, the image shows none of them.",
        "If the image shows one, the model needs training images like it; maps of absent classes mean nothing.",
    )


def unlikely(evidence: Evidence) -> Finding | None:
    """A class with a low probability, whose map then means little."""
    probability = evidence.scores.get(evidence.label, 1.0)
    if probability >= _ABSENT:
        return None
    best = max(evidence.scores, key=lambda name: evidence.scores[name])
    own = best == evidence.label
    return Finding(
        "Unlikely class",
        f"the probability of {evidence.label} is {probability:.3g}"
        + (", and those of all other classes are lower." if own else f", that of {best} {evidence.scores[best]:.3g}."),
        "Every map is stretched to its own range: the map of an absent class shows what resembles it most. "
        + ("Does the model know the class of the object?" if own else "Diagnose the class that the image shows."),
        () if own else ("--label", best),
    )


def distorted(evidence: Evidence) -> Finding | None:
    """An image that is distorted or greatly enlarged for the network's input."""
    if evidence.seen is None:
        return None
    geometry, side = evidence.seen.geometry, evidence.seen.pixels.shape[0]
    width, height = geometry.original
    squashed = max(geometry.scale_x / geometry.scale_y, geometry.scale_y / geometry.scale_x)
    if squashed > _MOST_SQUASHED:
        return Finding(
            "Distorted input",
            f"the image of {width} x {height} pixels is squashed to a square, by a factor of {squashed:.1f}.",
            "Localize nearly square parts of it; wsl-train --resize letterbox trains without distortion.",
        )
    enlarged = max(geometry.scale_x, geometry.scale_y)
    if enlarged > _MOST_ENLARGED:
        return Finding(
            "Distorted input",
            f"the image of {width} x {height} pixels is enlarged {enlarged:.1f} times, to {side} pixels.",
            "Give the original instead of a thumbnail.",
        )
    return None


def slow(evidence: Evidence) -> Finding | None:
    """An image that takes more than a second; the advice depends on the slowest step."""
    total = sum(evidence.seconds.values())
    if total < _SLOW:
        return None
    largest = max(evidence.seconds, key=lambda stage: evidence.seconds[stage])
    what = f"the image took {total:.1f} s, {evidence.seconds[largest]:.1f} s of it for {largest}."
    if largest == "refinement":
        return Finding("Slow", what, f"The refinement is {evidence.refine}.", ("--refine", "none"))
    if largest == "decoding":
        return Finding("Slow", what, "Give wsl-localize more reading threads: --workers 16.")
    if evidence.device == "cpu" and evidence.accelerated:
        return Finding("Slow", what, "A GPU is available but not used.", ("--device", "auto"))
    if evidence.method.partition(" of ")[0].split("(")[0] in ("by scorecam", "by ablationcam", "by fullgrad"):
        return Finding("Slow", what, f"Maps are made {evidence.method}.", ("--cam", "layercam"))
    return Finding("Slow", what, "Use a smaller input, a smaller network, or a machine with a GPU.")


def _odds(probability: float) -> float:
    return probability / (1 - probability) if probability < 1 else math.inf


CHECKS: tuple[Check, ...] = (
    unreadable,
    download_failed,
    out_of_memory,
    flat_picture,
    scores_lost,
    scores_alike,
    nothing_recognised,
    unlikely,
    blank,
    inverted,
    everything_red,
    several_in_one,
    too_small,
    distorted,
    slow,
)


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """All findings, with the likeliest cause first.

    >>> from pathlib import Path
    >>> findings(Evidence(image=Path("a.jpg"), scores={"cat": 0.501, "dog": 0.499}))[0].symptom
    'All scores alike'
    """
    with np.errstate(over="ignore", invalid="ignore"):  # maps may contain any values
        return tuple(found for check in CHECKS if (found := check(evidence)) is not None)
