"""A few small pictures with labels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.inference.reading import Reader
from wsl.samples import Sample, SampleSet
from wsl.training.validation import Scores, localize_present, validate


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """All tests here compute on one thread."""


@pytest.fixture
def samples(tmp_path) -> SampleSet:
    """Ten pictures of noise, each with one or two of three labels and a box for each."""
    rng, found = np.random.default_rng(0), []
    for i in range(10):
        path, width, height = tmp_path / f"{i}.png", 40 + 4 * (i % 3), 36
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3)).astype(np.uint8))
        labels = ("cat", "dog", "cow")[i % 3 : i % 3 + 1 + i % 2]
        boxes = Boxes(xyxy=[[4 * k, 4, 4 * k + 12, 20] for k in range(len(labels))], labels=labels)
        ignored = ("cat",) if labels == ("cow",) else ()
        found.append(Sample(path=path, labels=labels, ignored=ignored, boxes=boxes, size=(width, height)))
    return SampleSet(classes=("cat", "dog", "cow"), samples=tuple(found))


@pytest.fixture
def train_flags(samples):
    """Flags of ``wsl-train`` for the small pictures with one label each, a small network and a run folder."""

    def flags(out: Path, *more: str) -> list[str]:
        table = out.parent / "labels.csv"
        rows = "".join(f"{one.path},train,{one.labels[0]}\n" for one in samples.samples)
        table.write_text(f"path,split,label\n{rows}", encoding="utf-8")
        every = ["--data", str(table), "--out", str(out), "--backbone", "tinynet", "--weights", "none"]
        every += ["--image-size", "32", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--precision", "fp32"]
        return [*every, *more]

    return flags


@pytest.fixture(scope="session")
def validated():
    """What validation says of given outputs of a head: a function of model, samples and output."""

    def validate_output(model, samples: SampleSet, output) -> Scores:
        reader = Reader(model.classes, boxes=None)
        rows = zip(samples.samples, model.probabilities(output.scores).numpy(), output.maps.numpy(), strict=True)
        found = ((localize_present(model, reader, one, scores, maps), one) for one, scores, maps in rows)
        return validate(samples.classes, found)

    return validate_output
