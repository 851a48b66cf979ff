import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score

from wsl.centre import centre_gaussian
from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics import PxAP, histogram_ap, pxap, score_histograms
from wsl.metrics.pixels import _EDGES
from wsl.samples import Sample


@pytest.fixture
def masked(tmp_path):
    """A sample with a mask of class numbers on the disk."""

    def make(numbers, labels, name="a"):
        Image.fromarray(np.uint8(numbers)).save(tmp_path / f"{name}.png")
        return Sample(path=f"{name}.jpg", labels=labels, mask=tmp_path / f"{name}.png")

    return make


@given(st.integers(0, 10**6))
def test_bins_are_those_of_numpys_histogram_edges_included(seed):
    rng = np.random.default_rng(seed)
    scores = rng.choice([*_EDGES, *np.nextafter(_EDGES, 2)[:-1], *np.nextafter(_EDGES, -1)[1:]], 500)
    scores = np.concatenate([scores, rng.random(100).astype(np.float32)])
    inside = rng.random(600) < 0.5
    expected = [np.histogram(scores[inside == flag], bins=np.append(_EDGES, 2.0))[0] for flag in (False, True)]
    np.testing.assert_array_equal(score_histograms(scores, inside), expected)


@given(st.integers(0, 10**6))
def test_it_is_the_benchmarks(reference, seed):
    rng = np.random.default_rng(seed)
    maps = [rng.random((3, 4)).astype(np.float32) for _ in range(4)]
    masks = [rng.choice([0, 1, 255], (12, 15)) for _ in range(4)]
    masks[0][0, 0] = 1
    scores = [heatmap(score_map, (15, 12)).astype(np.float64) for score_map in maps]
    found = pxap(maps, [mask == 1 for mask in masks], [mask == 255 for mask in masks])
    assert found == pytest.approx(reference.metrics.pxap(scores, masks), abs=1e-12)


def test_on_scores_on_the_bins_edges_it_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores, inside = _EDGES[rng.integers(0, 1001, 4000)], rng.random(4000) < 0.3
    expected = average_precision_score(inside, scores)
    assert float(histogram_ap(score_histograms(scores, inside))) == pytest.approx(expected)


def test_a_map_without_contrast_gives_the_fraction_of_foreground():
    assert pxap([np.ones((3, 3))], [np.eye(4, dtype=bool)]) == pytest.approx(1 / 4)
    assert pxap([np.full((3, 3), np.nan)], [np.eye(4, dtype=bool)]) == pytest.approx(1 / 4)


def test_precision_and_recall_are_over_the_pixels_of_all_images():
    # Each map alone is perfect; together the first one's background lies above the second one's object.
    one, two = [[0, 0.9, 1]], [[0, 0.5, 1]]
    truths = [[[False, False, True]], [[False, True, True]]]
    assert pxap([one], truths[:1]) == pxap([two], truths[1:]) == 1
    assert pxap([one, two], truths) == pytest.approx((1 + 1 + 3 / 4) / 3)


@pytest.mark.parametrize(
    "arguments",
    [([], []), ([np.eye(2)], []), ([np.eye(2)], [np.zeros((2, 2), bool)]), ([np.eye(2)], [np.ones(3)])],
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(UserError, match=r"expected|undefined"):
        pxap(*arguments)
    with pytest.raises(UserError, match="one shape"):
        score_histograms([0.5], [True, False])
    with pytest.raises(UserError, match="normalised"):
        score_histograms([1.5], [True])


def test_streaming_is_the_pure_function_over_pairs(finding, masked):
    rng = np.random.default_rng(2)
    metric = PxAP(["cat", "dog"])
    maps, inside, ignored, labels = [], [], [], []
    for i in range(12):
        numbers = rng.choice([0, 1, 2, 255], (8, 10), p=[0.5, 0.2, 0.2, 0.1])
        scores = {label: rng.random((3, 3)).astype(np.float32) for label in ("cat", "dog")}
        metric.update(finding(size=(10, 8), maps=scores), masked(numbers, ["cat", "dog"], f"{i}"))
        for number, label in ((1, "cat"), (2, "dog")):
            maps.append(scores[label])
            inside.append(numbers == number)
            ignored.append(numbers == 255)
            labels.append(label)
    found = metric.compute()
    assert found.value == pytest.approx(pxap(maps, inside, ignored))
    for label in ("cat", "dog"):
        mine = [i for i, name in enumerate(labels) if name == label]
        of_class = ([part[i] for i in mine] for part in (maps, inside, ignored))
        assert found.per_class[label] == pytest.approx(pxap(*of_class))
    centre = [centre_gaussian((10, 8))] * len(maps)
    assert found.baseline == pytest.approx(pxap(centre, inside, ignored))
    counted = sum((~skip).sum() for skip in ignored)
    assert found.whole_image == pytest.approx(sum(mask.sum() for mask in inside) / counted)
    assert found.counts == {"cat": 12, "dog": 12}
    low, high = found.interval
    assert low < found.value < high


@pytest.mark.parametrize("stored", [False, True], ids=["class map", "stored score map"])
def test_the_benchmark_s_protocol_is_at_224_with_the_nearest_mask(finding, masked, reference, stored):
    """A score map that is stored at 224x224 in [0, 1] is not stretched again."""
    rng = np.random.default_rng(3)
    numbers, score_map = rng.integers(0, 2, (20, 20)), rng.random((3, 3)).astype(np.float32)
    resized = cv2.resize(score_map, (224, 224), interpolation=cv2.INTER_CUBIC)
    prepared = (resized - resized.min()) / (resized.max() - resized.min())
    if stored:
        score_map = prepared = (0.1 + 0.7 * prepared).astype(np.float32)
    metric = PxAP(["dog"], protocol="wsolevaluation")
    metric.update(finding(size=(20, 20), maps={"dog": score_map}), masked(numbers, ["dog"]))
    mask = cv2.resize(numbers.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST)
    assert metric.compute().value == pytest.approx(reference.metrics.pxap([prepared.astype(np.float64)], [mask]))
    recall, precision = metric.curve()
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(mask.mean())
    assert (np.diff(recall) >= 0).all()


def test_a_pair_without_a_map_is_zeros_that_the_note_counts(finding, masked):
    metric = PxAP(["cat", "dog"])
    sample = masked([[0, 0, 2, 2]], ["dog"])
    metric.update(finding(size=(4, 1)), sample)
    assert metric.compute().value is None
    metric.update(finding(size=(4, 1), maps={"dog": np.float32([[0, 0, 1, 1]])}), sample)
    metric.update(finding(size=(4, 1), maps={"dog": np.full((1, 4), np.nan, np.float32)}), sample)
    found = metric.compute()
    assert "2 without a map" in found.note
    # Two sure pixels right at first; the ten others come at once, four of them right.
    assert found.value == pytest.approx((2 * 1 + 4 * 6 / 12) / 6)
    assert found.counts == {"dog": 3}


def test_a_label_without_a_pixel_is_no_trial_and_a_bad_mask_an_error(finding, masked, tmp_path):
    metric = PxAP(["dog"])
    metric.update(finding(size=(2, 1), maps={"dog": np.ones((1, 2), np.float32)}), masked([[0, 0]], ["dog"]))
    assert metric.compute().count == 0
    with pytest.raises(UserError, match=r"2x1.*3x1"):
        metric.update(finding(size=(3, 1)), masked([[0, 0]], ["dog"]))
    with pytest.raises(UserError, match="number 2 is not a class"):
        metric.update(finding(size=(2, 1)), masked([[2, 0]], ["dog"]))
    with pytest.raises(UserError, match="no mask is annotated"):
        metric.update(finding(size=(2, 1)), Sample(path="a.jpg", labels=["dog"]))
    files = Sample(path="a.jpg", labels=[], object_masks=(tmp_path / "a.png",))
    with pytest.raises(UserError, match="one label"):
        metric.update(finding(size=(2, 1)), files)


def test_masks_a_file_an_object_serve_as_well(finding, masked, tmp_path):
    metric = PxAP(["cat", "dog"])
    one, ignored = (masked(rows, []).mask.rename(tmp_path / f"{i}.png") for i, rows in enumerate(([[0, 9]], [[9, 9]])))
    sample = Sample(path="a.jpg", labels=["dog"], object_masks=(one,), ignore_mask=ignored)
    metric.update(finding(size=(2, 1), maps={"dog": np.float32([[0, 1]])}), sample)
    assert metric.compute().value == 1
    assert metric.totals.sums().sum() == 1  # the pixel to ignore is no background
