import math

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from wsl.errors import UserError
from wsl.metrics import CorLoc, TopKAccuracy, TopKLoc, centre_box, class_ranks, top_k_accuracy, top_k_loc
from wsl.samples import Sample


@pytest.mark.parametrize("k", [1, 2, 5])
def test_without_ties_it_is_that_of_scikit_learn_and_torchmetrics(k):
    rng = np.random.default_rng(k)
    scores, targets = rng.permuted(np.tile(np.arange(8.0), (60, 1)), axis=1), rng.integers(0, 8, 60)
    assert top_k_accuracy(scores, targets, k) == pytest.approx(
        top_k_accuracy_score(targets, scores, k=k, labels=range(8))
    )
    theirs = torchmetrics.functional.accuracy(
        torch.tensor(scores), torch.tensor(targets), task="multiclass", num_classes=8, top_k=k, average="micro"
    )
    assert top_k_accuracy(scores, targets, k) == pytest.approx(float(theirs))


@given(st.integers(0, 10**6))
def test_ranks_are_those_of_a_stable_sort_so_that_every_class_has_one(seed):
    scores = np.random.default_rng(seed).integers(0, 3, (4, 6))
    order = np.argsort(-scores, axis=1, kind="stable")
    for target in range(6):
        ranks = class_ranks(scores, [target] * 4)
        assert (order[np.arange(4), ranks] == target).all()


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ([[0.1, math.nan]], [0]),
        ([[0.1, 0.2]], [2]),
        ([[0.1, 0.2]], [-1]),
        ([0.1, 0.2], [0]),
        ([[0.1]], [0, 1]),
        ([], []),
    ],
)
def test_scores_and_targets_that_make_no_sense_are_refused(scores, targets):
    with pytest.raises(UserError):
        top_k_accuracy(scores, targets)


def test_a_k_below_one_is_refused():
    with pytest.raises(UserError, match="expected numbers"):
        top_k_accuracy([[1.0, 0.0]], [0], k=0)
    with pytest.raises(UserError, match="expected numbers"):
        TopKLoc(["dog"], ks=())


def test_streaming_accuracy_is_the_pure_function(finding):
    rng = np.random.default_rng(0)
    classes = list("abcdefg")
    scores, targets = rng.random((30, 7)), rng.integers(0, 7, 30)
    metric = TopKAccuracy(classes)
    for i, (row, target) in enumerate(zip(scores, targets, strict=True)):
        named = dict(zip(classes, row.tolist(), strict=True))
        metric.update(finding(scores=named), Sample(path=f"{i}.jpg", labels=[classes[target]]))
    first, fifth = metric.compute()
    assert (first.name, fifth.name) == ("top-1", "top-5")
    assert first.value == pytest.approx(top_k_accuracy(scores, targets, 1))
    assert fifth.value == pytest.approx(top_k_accuracy(scores, targets, 5))
    assert (first.baseline, fifth.baseline) == (1 / 7, 5 / 7)
    assert first.counts == {classes[i]: n for i, n in enumerate(np.bincount(targets, minlength=7).tolist()) if n}


def test_only_images_of_exactly_one_class_count_and_those_without_scores_are_misses(finding):
    metric = TopKAccuracy(["cat", "dog"])
    right = finding(scores={"dog": 0.9, "cat": 0.1})
    for labels, ignored in ((["dog"], []), (["dog", "cat"], []), (["dog"], ["cat"]), ([], [])):
        metric.update(right, Sample(path="a.jpg", labels=labels, ignored=ignored))
    assert [(found.name, found.value, found.count) for found in metric.compute()] == [("top-1", 1.0, 1)]  # no top-5
    metric.update(finding(), Sample(path="b.jpg", labels=["cat"]))  # the first class, which no score speaks for
    metric.update(finding(scores={"cat": 0.4}), Sample(path="c.jpg", labels=["dog"]))
    (found,) = metric.compute()
    assert found.value == pytest.approx(1 / 3)
    assert "1 without scores" in found.note


def test_no_scores_at_all_are_no_value(finding):
    metric = TopKAccuracy(["cat", "dog"])
    assert metric.compute()[0].value is None
    metric.update(finding(), Sample(path="a.jpg", labels=["cat"]))
    assert metric.compute()[0].value is None
    assert TopKAccuracy(["dog"]).compute() == ()


def test_a_worked_example_of_loc(finding, annotated, boxes):
    classes = list("abcdefg")
    metric = TopKLoc(classes)
    scores = dict(zip(classes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], strict=True))
    right, wrong = [0, 0, 10, 10], [50, 50, 60, 60]
    for i, (label, box) in enumerate([("a", right), ("a", wrong), ("b", right), ("g", right)]):
        metric.update(
            finding(scores=scores, boxes=boxes((label, box))), annotated(boxes((label, right)), name=f"{i}.jpg")
        )
    known, first, fifth = metric.compute()
    assert [known.value, first.value, fifth.value] == [3 / 4, 1 / 4, 2 / 4]
    args = [right, wrong, right, right], [[right]] * 4, [0, 0, 1, 6]
    assert [top_k_loc(*args, k=k) for k in (None, 1, 5)] == [3 / 4, 1 / 4, 2 / 4]


def test_baselines_take_the_same_classes(finding, annotated, boxes):
    metric = TopKLoc(["cat", "dog"], ks=(1,))
    middle = boxes(("dog", centre_box((100, 100))))
    for i, dog in enumerate((0.9, 0.1)):
        metric.update(finding(scores={"dog": dog, "cat": 0.5}), annotated(middle, f"{i}.jpg"))
    assert [found.value for found in metric.compute()] == [None, None]  # no box at all
    metric.update(finding(scores={"dog": 1, "cat": 0.5}, boxes=middle), annotated(boxes(("dog", [0, 0, 100, 100]))))
    known, first = metric.compute()
    assert (known.value, first.value) == (0, 0)  # the box was found where the whole image is
    assert (known.baseline, first.baseline) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (known.whole_image, first.whole_image) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert "2 missing" in known.note


def test_gt_known_loc_is_corloc_over_pairs(finding, annotated, boxes):
    rng = np.random.default_rng(4)
    loc, corloc = TopKLoc(["cat", "dog"]), CorLoc(["cat", "dog"])
    for i in range(30):
        label = ["cat", "dog"][i % 3 == 0]
        x, y = rng.integers(0, 12, 2)
        found = finding(boxes=boxes((label, [x, y, x + 20, y + 20])))
        for metric in (loc, corloc):
            metric.update(found, annotated(boxes((label, [0, 0, 20, 20])), f"{i}.jpg"))
    assert loc.compute()[0].per_class == corloc.compute().per_class
    assert loc.compute()[0].value == pytest.approx(
        sum(corloc.compute().per_class[label] * count for label, count in corloc.compute().counts.items()) / 30
    )
    assert [(found.name, found.value) for found in loc.compute()[1:]] == [("Top-1 Loc", None)]  # no class was scored


def test_what_is_missing_or_nan_is_refused(finding, annotated, boxes):
    with pytest.raises(UserError, match="no boxes are annotated"):
        TopKLoc(["dog"]).update(finding(), Sample(path="a.jpg", labels=["dog"]))
    with pytest.raises(UserError, match="NaN"):
        TopKLoc(["dog"]).update(finding(scores={"dog": math.nan}), annotated(boxes(("dog", [0, 0, 1, 1]))))
    with pytest.raises(UserError, match="as many"):
        top_k_loc([None], [], [0])
