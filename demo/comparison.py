"""A sheet to compare heads by eye: one row for each canvas, one column for each pooling, one class in each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from canvases import SIDE

import wsl
from wsl.data import read_voc
from wsl.draw import contact_sheet, draw_boxes, draw_comparison, fit_into, overlay
from wsl.images import read_image
from wsl.inference import Source
from wsl.samples import Sample

UInt8Array = npt.NDArray[np.uint8]
CELL = (208, 208)
ROWS = 5


def comparison_sheet(data: Path, runs: Mapping[str, tuple[Path, float]], rows: int = ROWS) -> UInt8Array:
    """Held-out canvases with several digits, with one of their classes localized by the model of each run.

    `runs` maps column titles to run folders and box thresholds. Heatmaps show the map of the class; solid boxes are
    predictions, dashed boxes are the ground truth.
    """
    samples = _several_digits(read_voc(data, "val").samples, rows)
    columns = [[_with_all_boxes(sample) for sample in samples]]
    titles = [[", ".join(sample.labels) for sample in samples]]
    for name, (run, threshold) in runs.items():
        predictor = wsl.Predictor(wsl.load(run), threshold=threshold, box_rule="peak", device="cpu")
        pictures, captions = [], []
        found_in = predictor.stream(Source(sample.path, classes=sample.labels[:1]) for sample in samples)
        for sample, found in zip(samples, found_in, strict=True):
            label = sample.labels[0]
            assert found.maps is not None
            assert sample.boxes is not None
            canvas = overlay(fit_into(read_image(sample.path), CELL), found.maps[label])
            shown = (boxes.of(label).scaled(found.size, to=CELL) for boxes in (found.boxes, sample.boxes))
            pictures.append(draw_comparison(canvas, *shown))
            captions.append(f"{name}: {label} {found.scores[label]:.2f}")
        columns.append(pictures)
        titles.append(captions)
    by_row = [picture for row in zip(*columns, strict=True) for picture in row]
    names = [title for row in zip(*titles, strict=True) for title in row]
    return contact_sheet(by_row, columns=len(columns), titles=names, cell=CELL)


def _several_digits(samples: Sequence[Sample], rows: int) -> list[Sample]:
    """The first samples with at least two digits, each with another class to show than the ones before."""
    chosen: dict[str, Sample] = {}
    for sample in samples:
        if len(sample.labels) >= 2:
            chosen.setdefault(sample.labels[0], sample)
    return list(chosen.values())[:rows] or list(samples[:rows])


def _with_all_boxes(sample: Sample) -> UInt8Array:
    assert sample.boxes is not None
    return draw_boxes(fit_into(read_image(sample.path), CELL), sample.boxes.scaled((SIDE, SIDE), to=CELL), dashed=True)
