"""From the benchmark's own files to the benchmark's own numbers."""

import cv2
import numpy as np
import pytest

from wsl.config import DataConfig, EvaluateConfig
from wsl.verbs.evaluate import evaluate

COUNT = 24
LEVELS = (0.3, 0.5, 0.7)


def smooth(rng, sigma):
    values = cv2.GaussianBlur(rng.random((224, 224)), (0, 0), sigma)
    return (values - values.min()) / (values.max() - values.min())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Score maps of 224x224, some of which do not reach 0 and 1, images of many sizes, and one or two boxes each."""
    root, rng = tmp_path_factory.mktemp("benchmark"), np.random.default_rng(7)
    (root / "metadata" / "test").mkdir(parents=True)
    (root / "maps" / "val").mkdir(parents=True)
    ids, labels, sizes, places = [], [], [], []
    for i in range(COUNT):
        name, size = f"val/{i}.JPEG", rng.integers(60, 700, 2)
        score_map = smooth(rng, rng.choice([12, 25, 40]))
        np.save(root / "maps" / f"{name}.npy", 0.9 * score_map if i % 3 == 0 else score_map)
        ids.append(name)
        labels.append(f"{name},{i % 4}")
        sizes.append(f"{name},{size[0]},{size[1]}")
        for _ in range(1 + (i % 5 == 0)):
            near = (rng.uniform(0, 0.5, 2) * size).astype(int)
            far = near + ((size - near) * rng.uniform(0.3, 1, 2)).astype(int)
            places.append(f"{name},{near[0]},{near[1]},{far[0]},{far[1]}")
    for name, lines in (("image_ids", ids), ("class_labels", labels), ("image_sizes", sizes), ("localization", places)):
        (root / "metadata" / "test" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def published(reference, root, candidates, thresholds):
    """Right images by level and threshold, from the files alone; any box of an image may be met."""

    def rows(name, cells):
        return [line.rsplit(",", cells) for line in (root / "metadata" / "test" / f"{name}.txt").read_text().split()]

    scales = {
        name: np.array([224 / int(width), 224 / int(height)] * 2) for name, width, height in rows("image_sizes", 2)
    }
    truths = {name: [] for name in scales}
    for name, *corners in rows("localization", 4):
        truths[name].append((np.array(corners, float) * scales[name]).astype(int))
    hits = np.zeros((3, len(thresholds)), int)
    for name, boxes in truths.items():
        score_map = np.load(root / "maps" / f"{name}.npy")
        found = reference.threshold_sweep.overlaps(score_map, boxes, candidates, thresholds)
        hits += np.array([found >= level for level in LEVELS])
    return hits / len(truths)


@pytest.mark.parametrize(("name", "candidates", "count"), [("MaxBoxAcc", "largest", 100), ("MaxBoxAccV2", "all", 1000)])
@pytest.mark.quick("name", ["MaxBoxAcc"])
def test_the_published_numbers_to_the_digit(files, reference, tmp_path, name, candidates, count):
    config = EvaluateConfig(
        data=DataConfig(data=files / "metadata"),
        split="test",
        predictions=files / "maps",
        protocol="wsolevaluation",
        out=tmp_path,
        plots=True,
    )
    report = evaluate(config)
    accuracy = published(reference, files, candidates, np.arange(0, 1, 1 / count))
    metrics = {metric.name: metric for metric in report.metrics}
    for row, level in zip(accuracy, LEVELS, strict=True):
        metric = metrics[f"{name}@{level:g} (wsolevaluation)"]
        assert metric.count == COUNT
        assert metric.value == pytest.approx(row.max(), abs=1e-12)
        assert f"best threshold {row.argmax() / count:g} on the evaluated split (optimistic)" in metric.note
        assert metrics[f"{name.removeprefix('Max')}@{level:g} (wsolevaluation)"].value == row[round(0.2 * count)]
    if name == "MaxBoxAccV2":
        mean = metrics["MaxBoxAccV2 (wsolevaluation)"].value
        assert mean == pytest.approx(accuracy.max(axis=1).mean(), abs=1e-12)
    assert report.warnings == {}
    assert (tmp_path / "plots" / "max_box_acc_over_threshold.png").is_file()
