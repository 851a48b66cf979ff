"""Data sets of each kind in small, made from fixed random numbers: predictions near the ground truth, and far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from wsl import run_lengths
from wsl.boxes import Boxes
from wsl.results import Localization
from wsl.samples import Outline, Sample

CLASSES = ("cat", "dog", "emu", "fox", "gnu", "hen")
Pairs = Iterator[tuple[Localization, Sample]]


def voc(folder: Path) -> Pairs:
    """Several classes an image, difficult boxes, one mask an image; some points, maps and scores are missing."""
    rng = np.random.RandomState(0)
    for i in range(30):
        size = (int(rng.randint(60, 120)), int(rng.randint(50, 90)))
        truths = _boxes(rng, size, rng.randint(0, 4), difficult=0.2)
        present, ignored = _labels(truths)
        numbers = np.zeros(size[::-1], np.uint8)
        for label, (x0, y0, x1, y1) in zip(truths.labels, truths.xyxy.astype(int), strict=True):
            numbers[y0:y1, x0:x1] = CLASSES.index(label) + 1
            numbers[y0, x0:x1] = 255
        mask = folder / f"{i:03}.png"
        Image.fromarray(numbers).save(mask)
        known = [label for label in CLASSES if i != 4 and (label in present or rng.rand() < 0.5)]
        found = Localization(
            path=f"voc/{i:03}.jpg",
            size=size,
            scores=dict(zip(CLASSES[: 5 if i == 7 else 6], rng.rand(6).round(2).tolist(), strict=False)),
            boxes=_near(rng, truths, size),
            points={label: (rng.rand() * size[0], rng.rand() * size[1]) for label in known if rng.rand() < 0.6},
            maps={label: _map(rng, truths, label, size) for label in known},
        )
        annotated = None if i == 9 else truths
        yield (
            found,
            Sample(
                path=f"voc/{i:03}.jpg",
                labels=present,
                ignored=ignored,
                boxes=annotated,
                size=size,
                mask=None if i % 5 == 0 else mask,
            ),
        )


def coco(folder: Path) -> Pairs:
    """Outlines of objects and crowds; a detector's boxes, some of another class, and maps of most classes."""
    rng = np.random.RandomState(1)
    for i in range(24):
        size = (int(rng.randint(60, 120)), int(rng.randint(50, 90)))
        truths = _boxes(rng, size, rng.randint(0, 6), difficult=0.15)
        present, ignored = _labels(truths)
        outlines = []
        for label, box, crowd in zip(truths.labels, truths.xyxy.astype(int), truths.difficult.tolist(), strict=True):
            x0, y0, x1, y1 = box.tolist()
            pixels = np.zeros(size[::-1], bool)
            pixels[y0:y1, x0:x1] = rng.rand(y1 - y0, x1 - x0) < 0.8
            outlines.append(Outline(label=label, runs=run_lengths.encode(pixels), ignored=crowd))
        found = Localization(
            path=f"coco/{i:03}.jpg",
            size=size,
            scores=dict(zip(CLASSES, rng.rand(6).tolist(), strict=True)),
            boxes=Boxes.concatenate([_near(rng, truths, size), _boxes(rng, size, 3, difficult=0, scored=True)]),
            maps={label: _map(rng, truths, label, size) for label in CLASSES if rng.rand() < 0.8},
        )
        yield (
            found,
            Sample(
                path=f"coco/{i:03}.jpg",
                labels=present,
                ignored=ignored,
                boxes=truths,
                size=size,
                outlines=tuple(outlines),
            ),
        )


def wsol(folder: Path) -> Pairs:
    """One class an image, with masks of its objects and of what nobody is sure of."""
    rng = np.random.RandomState(2)
    for i in range(24):
        size = (int(rng.randint(60, 120)), int(rng.randint(50, 90)))
        label = CLASSES[rng.randint(6)]
        some = _boxes(rng, size, rng.randint(1, 3), difficult=0)
        truths = Boxes(xyxy=some.xyxy, labels=(label,) * len(some))
        masks = []
        for number, (x0, y0, x1, y1) in enumerate(truths.xyxy.astype(int)):
            pixels = np.zeros(size[::-1], np.uint8)
            pixels[y0:y1, x0:x1] = 255
            masks.append(folder / f"{i:03}-{number}.png")
            Image.fromarray(pixels).save(masks[-1])
        unsure = folder / f"{i:03}-ignore.png"
        Image.fromarray((rng.rand(size[1], size[0]) < 0.1).astype(np.uint8) * 255).save(unsure)
        maps = {} if i in (3, 11) else {label: _map(rng, truths, label, size)}
        found = Localization(
            path=f"wsol/{i:03}.jpg",
            size=size,
            scores={} if i == 5 else dict(zip(CLASSES, rng.rand(6).tolist(), strict=True)),
            boxes=_near(rng, truths, size),
            maps=maps,
        )
        yield (
            found,
            Sample(
                path=f"wsol/{i:03}.jpg",
                labels=(label,),
                boxes=truths,
                size=size,
                object_masks=tuple(masks),
                ignore_mask=unsure if i % 2 else None,
            ),
        )


SCENES = {"voc": voc, "coco": coco, "wsol": wsol}


def _boxes(
    rng: np.random.RandomState, size: tuple[int, int], count: int, *, difficult: float, scored: bool = False
) -> Boxes:
    near = [(rng.randint(0, size[0] - 30), rng.randint(0, size[1] - 30)) for _ in range(count)]
    xyxy = [(x, y, rng.randint(x + 8, size[0] + 1), rng.randint(y + 8, size[1] + 1)) for x, y in near]
    return Boxes(
        xyxy=np.array(xyxy, np.float32).reshape(-1, 4),
        labels=tuple(CLASSES[rng.randint(6)] for _ in range(count)),
        scores=rng.rand(count).astype(np.float32) if scored else np.ones(count, np.float32),
        difficult=rng.rand(count) < difficult,
    )


def _labels(truths: Boxes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    easy = [label for label, hard in zip(truths.labels, truths.difficult.tolist(), strict=True) if not hard]
    return tuple(dict.fromkeys(easy)), tuple(label for label in dict.fromkeys(truths.labels) if label not in easy)


def _near(rng: np.random.RandomState, truths: Boxes, size: tuple[int, int]) -> Boxes:
    """Boxes beside the true ones, some of them lost, some twice."""
    rows = [i for i in range(len(truths)) for _ in range(int(rng.choice(4, p=[0.15, 0.6, 0.15, 0.1])))]
    moved = truths.xyxy[rows] + rng.randint(-6, 7, (len(rows), 4))
    limits = np.array([*size, *size])
    moved = np.clip(moved, 0, limits)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    return Boxes(
        xyxy=moved.astype(np.float32),
        labels=tuple(truths.labels[i] for i in rows),
        scores=rng.rand(len(rows)).astype(np.float32),
    )


def _map(rng: np.random.RandomState, truths: Boxes, label: str, size: tuple[int, int]) -> np.ndarray:
    """Noise, higher where the boxes of the class are; now and then without contrast, or with a NaN."""
    values = rng.rand(7, 9).astype(np.float32)
    for (x0, y0, x1, y1), name in zip(truths.xyxy, truths.labels, strict=True):
        if name == label:
            rows = slice(int(y0 / size[1] * 7), int(np.ceil(y1 / size[1] * 7)))
            values[rows, int(x0 / size[0] * 9) : int(np.ceil(x1 / size[0] * 9))] += 1
    kind = rng.rand()
    if kind < 0.04:
        return np.full_like(values, 0.5)
    if kind < 0.08:
        values[2, 3] = np.nan
    return values
