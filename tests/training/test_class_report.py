"""Precision, recall and confusions against a count of all pairs, and their bounds."""

import numpy as np
import pytest

from wsl.samples import Sample
from wsl.training import class_report
from wsl.training.class_report import ClassReport

CLASSES = ("cat", "dog", "cow", "hen")


def drawn(count=60):
    """Images with one or two labels, now and then an unknown class, and probabilities."""
    rng = np.random.default_rng(0)
    for i in range(count):
        labels = tuple(rng.choice(CLASSES, size=rng.integers(1, 3), replace=False).tolist())
        others = [name for name in CLASSES if name not in labels]
        ignored = tuple(others[:1]) if i % 4 == 0 else ()
        scores = dict(zip(CLASSES, rng.random(4).round(2).tolist(), strict=True))
        yield scores, Sample(path=f"{i}.jpg", labels=labels, ignored=ignored)


def counted(multi_label):
    """Class by class and pair by pair."""
    figures, pairs = {}, {}
    for name in CLASSES:
        predicted = right = present = 0
        for scores, sample in drawn():
            says = scores[name] >= 0.5 if multi_label else scores[name] == max(scores.values())
            present += name in sample.labels
            if says and name not in sample.ignored:
                predicted += 1
                right += name in sample.labels
                if name not in sample.labels:
                    for other in sample.labels:
                        pairs[name, other] = pairs.get((name, other), 0) + 1
        figures[name] = {"predicted": predicted, "precision": right / predicted, "recall": right / present}
    return figures, pairs


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_it_is_the_count_of_all_pairs_in_one_process_or_several(multi_label, parts):
    reports = [ClassReport(CLASSES, multi_label=multi_label) for _ in range(parts)]
    for i, (scores, sample) in enumerate(drawn()):
        reports[i % parts].update(scores, sample)
    for other in reports[1:]:
        reports[0].merge(other)
    figures, pairs = counted(multi_label)
    assert {name: reports[0].figures(name) for name in CLASSES} == figures
    found = reports[0].confusions()
    assert {(one["predicted"], one["present"]): one["images"] for one in found} == pairs
    assert [one["images"] for one in found] == sorted(pairs.values(), reverse=True)
    present = {name: sum(name in sample.labels for _, sample in drawn()) for name in CLASSES}
    assert all(one["of"] == present[one["present"]] for one in found)


def test_a_class_that_nobody_predicts_or_shows_has_no_figure():
    report = ClassReport(["cat", "dog"])
    report.update({"cat": 0.1, "dog": 0.1}, Sample(path="a.jpg", labels=["cat"]))
    assert report.figures("cat") == {"predicted": 0, "precision": None, "recall": 0.0}
    assert report.figures("dog") == {"predicted": 0, "precision": None, "recall": None}


def test_ten_thousand_classes_are_bounded(monkeypatch):
    monkeypatch.setattr(class_report, "_MOST_PAIRS", 100)
    classes = [f"c{i:05d}" for i in range(10_000)]
    report = ClassReport(classes)
    scores = dict(zip(classes, np.linspace(0.6, 0.9, len(classes)).tolist(), strict=True))
    for label in classes[:8]:
        report.update(scores, Sample(path="a.jpg", labels=[label]))
        report.update(scores, Sample(path="b.jpg", labels=["c00000"]))
    assert len(report._pairs) <= 100
    found = report.confusions()
    assert found[0] == {"predicted": "c09980", "present": "c00000", "images": 9, "of": 9}
    assert sum(one["present"] == "c00000" for one in found) == 20


def test_more_confusions_than_a_list_should_have_are_cut(monkeypatch):
    monkeypatch.setattr(class_report, "MOST_LISTED", 3)
    report = ClassReport(CLASSES)
    for scores, sample in drawn():
        report.update(scores, sample)
    assert len(report.confusions()) == 3
