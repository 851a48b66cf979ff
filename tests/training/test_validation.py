"""Validation in training is what wsl.metrics says of the same outputs."""

import numpy as np
import pytest
import torch

from heads import HeadOutput
from wsl.boxes import Boxes
from wsl.config import Preprocessing
from wsl.data import stacked_targets
from wsl.maps import resize_map
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet


def outputs(count: int, classes: int, side: int = 6) -> HeadOutput:
    torch.manual_seed(3)
    return HeadOutput(torch.randn(count, classes), torch.randn(count, classes, side, side))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """As VOC does since 2010: at each positive the highest precision from there on, averaged."""
    labels, scores = labels[labels >= 0], scores[labels >= 0]
    ranked = labels[np.argsort(-scores)]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(np.mean([precision[i:].max() for i in np.flatnonzero(ranked)]))


def test_map_and_pointing_equal_their_definitions_on_the_same_outputs(samples, validated):
    # Eight cells of eight pixels, each at its own place: nothing is resampled.
    model = Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=Preprocessing(image_size=64))
    output = outputs(10, 3)
    scores = validated(model, samples, output)

    labels, known = stacked_targets(samples)
    by_class = [
        average_precision(labels[some, c], output.scores[some, c].numpy()) for c, some in enumerate(known.T > 0)
    ]
    assert scores.mAP == pytest.approx(np.mean(by_class))

    hits: dict[str, list[bool]] = {}
    for sample, maps in zip(samples.samples, output.maps.numpy(), strict=True):
        for label in sample.labels:
            resized = resize_map(maps[samples.classes.index(label)], sample.size)
            y, x = np.unravel_index(int(resized.argmax()), resized.shape)
            x0, y0, x1, y1 = sample.boxes.of(label).xyxy[0]
            away = np.hypot(max(x0 - x, 0, x - (x1 - 1)), max(y0 - y, 0, y - (y1 - 1)))
            hits.setdefault(label, []).append(bool(away < 15))
    expected = np.mean([np.mean(found) for found in hits.values()])
    assert 0 < expected < 1
    assert scores.pointing == pytest.approx(expected)


def test_a_letterboxed_map_is_looked_at_where_the_image_is(validated):
    """The hottest cell lies on the padding; the point must not."""
    boxes = Boxes(xyxy=[[160, 0, 200, 40]], labels=["cat"])
    sample = Sample(path="a.jpg", labels=["cat"], boxes=boxes, size=(200, 100))
    samples = SampleSet(classes=["cat"], samples=[sample])
    preprocessing = Preprocessing(image_size=64, resize="letterbox")
    model = Localizer("tinynet", 1, classes=["cat"], weights="none", preprocessing=preprocessing)
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 7, 0] = 9.0  # below the image
    maps[0, 0, 2, 7] = 1.0  # its top right corner
    assert validated(model, samples, HeadOutput(torch.ones(1, 1), maps)).pointing == 1.0


def test_classes_of_difficult_objects_only_count_for_nothing(validated):
    boxes = Boxes(xyxy=[[0, 0, 5, 5]], labels=["cat"], difficult=[True])
    known = Sample(path="b.jpg", labels=["dog"], size=(50, 50))
    difficult = Sample(path="a.jpg", labels=["dog"], ignored=["cat"], boxes=boxes, size=(50, 50))
    samples = SampleSet(classes=["cat", "dog"], samples=[known, difficult])
    model = Localizer("tinynet", classes=samples.classes, weights="none")
    scores = validated(model, samples, outputs(2, 2))
    assert scores.mAP == 1.0  # of dog alone
    assert scores.pointing is None


def test_without_boxes_there_is_a_map_and_no_pointing(validated):
    samples = SampleSet(classes=["cat"], samples=[Sample(path="a.jpg", labels=["cat"])])
    model = Localizer("tinynet", classes=["cat"], weights="none")
    scores = validated(model, samples, outputs(1, 1))
    assert (scores.mAP, scores.pointing) == (1.0, None)
