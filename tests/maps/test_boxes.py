"""Boxes of maps: the reference, a breadth-first search, analytic blobs, and what must hold for any map."""

from collections import deque
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.maps import (
    boxes_from_map,
    extract_boxes,
    extract_many,
    largest_boxes,
    nms,
    normalise,
    peak,
    resize_map,
)
from wsl.maps.boxes import nested, nested_thresholds

RULES = ("largest", "peak", "all")


def components(heat: np.ndarray, threshold: float) -> list[dict]:
    """8-connected components above the threshold, one pixel after the other, in reading order."""
    foreground = heat > np.float32(threshold)
    seen = np.zeros_like(foreground)
    found = []
    for start in zip(*np.nonzero(foreground), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        queue, pixels = deque([start]), []
        while queue:
            y, x = queue.popleft()
            pixels.append((y, x))
            for next_y in range(max(y - 1, 0), min(y + 2, heat.shape[0])):
                for next_x in range(max(x - 1, 0), min(x + 2, heat.shape[1])):
                    if foreground[next_y, next_x] and not seen[next_y, next_x]:
                        seen[next_y, next_x] = True
                        queue.append((next_y, next_x))
        ys, xs = zip(*pixels, strict=True)
        found.append(
            {
                "xyxy": [float(min(xs)), float(min(ys)), float(max(xs) + 1), float(max(ys) + 1)],
                "area": len(pixels),
                "score": max(heat[pixel] for pixel in pixels),
            }
        )
    return found


def gaussian(size: tuple[int, int], centre: tuple[float, float], sigma: float) -> np.ndarray:
    x, y = np.arange(size[0]) + 0.5 - centre[0], np.arange(size[1])[:, None] + 0.5 - centre[1]
    return np.exp(-(x**2 + y**2) / (2 * sigma**2)).astype(np.float32)


def noise(seed: int, side: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((int(rng.integers(1, side)), int(rng.integers(1, side))), np.float32)


def awkward(seed: int) -> np.ndarray:
    """A map of any kind: noise, smooth, plateaus, few levels, tiny and huge values, hardly any contrast, none."""
    rng = np.random.default_rng(seed)
    score_map = rng.standard_normal(rng.integers(1, 26, 2)).astype(np.float32)
    broken = score_map.copy()
    broken.flat[rng.integers(broken.size)] = rng.choice([np.nan, np.inf, -np.inf])
    kinds = [
        score_map,
        cv2.GaussianBlur(score_map, (0, 0), 1.5),
        np.round(score_map * 2) / 2,
        (score_map > 0.5).astype(np.float32),
        np.maximum(score_map, 0),
        1000 + score_map,
        score_map * np.float32(10.0 ** rng.integers(-44, 38)),
        -np.exp(20 * np.minimum(score_map, 4)),
        1 + np.float32(1e-7) * (score_map > 1),
        np.full_like(score_map, score_map[0, 0]),
        broken,
    ]
    return kinds[int(rng.integers(len(kinds)))]


@settings(max_examples=500)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    threshold=st.one_of(st.sampled_from([0.0, 0.5]), st.floats(0, 0.99)),
    rule=st.sampled_from(RULES),
    min_area=st.sampled_from([0.0, 0.001, 0.01, 0.3]),
    resolution=st.sampled_from([8, 64, 256, 500]),
)
def test_boxes_are_those_of_the_reference_to_the_bit(reference, seed, size, threshold, rule, min_area, resolution):
    score_map, options = awkward(seed), {"rule": rule, "min_area": min_area, "resolution": resolution}
    xyxy, scores = reference.boxes.extract(score_map, size, threshold, rule, min_area, resolution)
    plain = extract_boxes(score_map, size, threshold=threshold, **options)
    boxes = boxes_from_map(score_map, size=size, threshold=threshold, **options)
    for found in (plain, boxes):
        assert (found.xyxy.dtype, found.scores.dtype) == (np.float32, np.float32)
        assert found.xyxy.tolist() == xyxy.tolist()
        assert found.scores.tolist() == scores.tolist()
    assert peak(score_map, size) == reference.boxes.peak(score_map, size)


@pytest.mark.parametrize("side", [256, 257])
@pytest.mark.parametrize("rule", RULES)
def test_boxes_of_a_map_with_thousands_of_components(reference, rule, side):
    score_map = np.random.default_rng(0).random((side, side), np.float32)
    options = {"threshold": 0.7, "rule": rule, "min_area": 0.0, "resolution": side}
    expected = reference.boxes.extract(np.round(score_map, 2), (side, side), *options.values())
    found = extract_boxes(np.round(score_map, 2), (side, side), **options)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.95]))
def test_every_rule_agrees_with_a_breadth_first_search(seed: int, threshold: float) -> None:
    score_map = noise(seed)
    size = (score_map.shape[1] * 2, score_map.shape[0] * 2)
    found = components(normalise(resize_map(score_map, size)), threshold)
    every = boxes_from_map(score_map, threshold=threshold, rule="all", size=size, min_area=0)
    assert sorted(every.xyxy.tolist()) == sorted(one["xyxy"] for one in found)
    assert every.scores.tolist() == sorted((one["score"] for one in found), reverse=True)
    if not found:
        return
    largest = boxes_from_map(score_map, threshold=threshold, size=size)
    best = max(one["area"] for one in found)
    ties = [one for one in found if one["area"] == best]
    assert largest.xyxy[0].tolist() == min(ties, key=lambda one: (one["xyxy"][1], one["xyxy"][0]))["xyxy"]
    top = boxes_from_map(score_map, threshold=threshold, rule="peak", size=size)
    assert top.scores.tolist() == [1.0]
    assert top.xyxy[0].tolist() in [one["xyxy"] for one in found if one["score"] == 1]


def test_the_box_of_a_rectangle_is_the_rectangle() -> None:
    score_map = np.zeros((30, 40), np.float32)
    score_map[5:12, 8:31] = 3
    for rule in RULES:
        boxes = boxes_from_map(score_map, rule=rule, label="dog")
        assert boxes.xyxy.tolist() == [[8, 5, 31, 12]]
        assert (boxes.labels, boxes.scores.tolist()) == (("dog",), [1.0])


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5, 0.8])
def test_the_box_of_a_gaussian_has_its_analytic_side(threshold: float) -> None:
    boxes = boxes_from_map(gaussian((200, 160), (90, 70), 15), threshold=threshold)
    radius = 15 * np.sqrt(-2 * np.log(threshold))
    assert np.allclose(boxes.xyxy[0], [90 - radius, 70 - radius, 90 + radius, 70 + radius], atol=1.01)


def test_the_rules_differ_where_the_largest_component_is_not_the_highest() -> None:
    wide, hot = 0.8 * gaussian((200, 100), (60, 50), 20), gaussian((200, 100), (160, 50), 8)
    speck = 0.9 * gaussian((200, 100), (195.5, 5.5), 0.5)
    score_map = np.maximum(np.maximum(wide, hot), speck)
    largest, top, every = (boxes_from_map(score_map, threshold=0.5, rule=rule) for rule in RULES)
    assert largest.xyxy[0, 0] < 60 < largest.xyxy[0, 2]
    assert every.scores.tolist() == [1.0, largest.scores[0]]
    assert largest.scores[0] == pytest.approx(0.8, abs=0.01)
    assert top.xyxy[0, 0] < 160 < top.xyxy[0, 2]
    assert len(every) == 2, "the speck is smaller than a thousandth of the image"
    assert every.xyxy.tolist() == [*top.xyxy.tolist(), *largest.xyxy.tolist()]
    assert len(boxes_from_map(score_map, threshold=0.5, rule="all", min_area=0)) == 3


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 0.9), min_area=st.sampled_from([0.0, 0.01]))
def test_nested_boxes_are_all_boxes_and_those_that_they_part_into(seed: int, threshold: float, min_area: float) -> None:
    score_map, options = noise(seed), {"size": (90, 70), "min_area": min_area}
    found = boxes_from_map(score_map, threshold=threshold, rule="nested", **options)
    at = [round(threshold + (1 - threshold) * level / 5, 9) for level in range(5)]
    levels = [boxes_from_map(score_map, threshold=one, rule="all", **options) for one in at]
    lowest = {tuple(box): score for box, score in zip(levels[0].xyxy.tolist(), levels[0].scores.tolist(), strict=True)}
    higher = {tuple(box) for level in levels[1:] for box in level.xyxy.tolist()}
    boxes = [tuple(box) for box in found.xyxy.tolist()]
    assert lowest.keys() <= set(boxes) <= lowest.keys() | higher
    for box in lowest:
        scores = [score for one, score in zip(boxes, found.scores.tolist(), strict=True) if one == box]
        assert any(score == pytest.approx(lowest[box] * share) for score in scores for share in (1, 0.9))
    assert (np.diff(found.scores) <= 0).all()
    (many,) = extract_many(score_map[None], [(90, 70)], threshold=threshold, rule="nested", min_area=min_area)
    assert np.array_equal(many.xyxy, found.xyxy)
    assert np.array_equal(many.scores, found.scores)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 0.9), min_area=st.sampled_from([0.0, 0.01]))
def test_nested_boxes_are_those_of_the_plain_form(seed: int, threshold: float, min_area: float, reference: Any) -> None:
    """To the bit, from levels that are each extracted anew."""
    score_map = gaussian((60, 40), (20, 20), 9) + 0.4 * resize_map(noise(seed), (60, 40))
    levels = [
        extract_boxes(score_map, (90, 70), threshold=one, rule="all", min_area=min_area)
        for one in nested_thresholds(threshold)
    ]
    boxes, scores = reference.boxes.nested(levels)
    found = extract_boxes(score_map, (90, 70), threshold=threshold, rule="nested", min_area=min_area)
    for one in (found, nested(levels)):
        assert np.array_equal(one.xyxy, boxes)
        assert np.array_equal(one.scores, scores)


def test_nested_boxes_part_things_that_touch() -> None:
    left, right = gaussian((120, 60), (40, 30), 13), 0.9 * gaussian((120, 60), (76, 30), 13)
    whole = boxes_from_map(np.maximum(left, right), threshold=0.3, rule="all")
    assert len(whole) == 1
    found = boxes_from_map(np.maximum(left, right), threshold=0.3, rule="nested")
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.63], abs=0.01)
    first, one, other = found.xyxy.tolist()
    assert first == whole.xyxy[0].tolist()
    assert one[0] < 40 < one[2] < other[0] < 76 < other[2]


def test_nested_boxes_of_one_hill_are_its_box() -> None:
    hill = gaussian((120, 60), (40, 30), 13)
    for rule in ("all", "nested"):
        assert boxes_from_map(hill, threshold=0.3, rule=rule).scores.tolist() == [1.0]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    threshold=st.floats(0, 0.99),
    rule=st.sampled_from(RULES),
)
def test_boxes_lie_in_the_image_and_are_not_empty(
    seed: int, size: tuple[int, int], threshold: float, rule: str
) -> None:
    boxes = boxes_from_map(noise(seed), threshold=threshold, rule=rule, size=size)
    assert (boxes.xyxy >= 0).all()
    assert (boxes.xyxy <= [*size, *size]).all()
    assert (boxes.area > 0).all()
    assert (np.diff(boxes.scores) <= 0).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 256), st.integers(1, 256)),
    threshold=st.floats(0, 0.99),
)
def test_the_peaks_box_contains_the_peak(seed: int, size: tuple[int, int], threshold: float) -> None:
    score_map = noise(seed)
    for box in boxes_from_map(score_map, threshold=threshold, rule="peak", size=size).xyxy:
        x, y = peak(score_map, size)
        assert box[0] <= x < box[2]
        assert box[1] <= y < box[3]


@given(x=st.floats(20, 80), y=st.floats(20, 60), sigma=st.floats(2, 30))
@settings(max_examples=30)
def test_a_higher_threshold_gives_a_box_inside_on_a_map_with_one_hill(x: float, y: float, sigma: float) -> None:
    boxes = largest_boxes(gaussian((100, 80), (x, y), sigma), np.linspace(0.05, 0.95, 19))
    assert (np.diff(boxes[:, :2], axis=0) >= 0).all()
    assert (np.diff(boxes[:, 2:], axis=0) <= 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_boxes_scale_with_the_image(rule: str) -> None:
    score_map = np.random.default_rng(3).random((7, 9), np.float32)
    small = boxes_from_map(score_map, threshold=0.5, rule=rule, size=(400, 300))
    large = boxes_from_map(score_map, threshold=0.5, rule=rule, size=(4000, 3000))
    assert np.array_equal(large.xyxy, small.xyxy * 10)
    assert np.array_equal(large.scores, small.scores)


@pytest.mark.parametrize("rule", RULES)
def test_mirroring_the_map_mirrors_the_boxes(rule: str) -> None:
    score_map = np.random.default_rng(4).random((7, 9), np.float32)
    plain = boxes_from_map(score_map, threshold=0.6, rule=rule, size=(180, 140)).xyxy
    mirrored = boxes_from_map(score_map[:, ::-1], threshold=0.6, rule=rule, size=(180, 140)).xyxy
    assert np.array_equal(
        np.stack([180 - mirrored[:, 2], mirrored[:, 1], 180 - mirrored[:, 0], mirrored[:, 3]], 1), plain
    )


@given(gain=st.floats(0.01, 100), offset=st.floats(-5, 5))
@settings(max_examples=30)
def test_gain_and_offset_of_the_map_do_not_matter(gain: float, offset: float) -> None:
    score_map = gaussian((14, 14), (5, 8), 3)
    plain, changed = (boxes_from_map(m, size=(224, 224)).xyxy for m in (score_map, score_map * gain + offset))
    assert np.abs(plain - changed).max() <= 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [0.0, -2.0, np.nan, np.inf])
def test_a_map_without_contrast_has_no_box(rule: str, value: float) -> None:
    assert len(boxes_from_map(np.full((4, 6), value), threshold=0, rule=rule, size=(60, 40))) == 0
    broken = np.arange(24.0).reshape(4, 6)
    broken[2, 2] = value if not np.isfinite(value) else np.nan
    assert len(boxes_from_map(broken, rule=rule, size=(60, 40))) == 0
    assert not largest_boxes(broken, [0.0, 0.5], size=(60, 40)).any()


def test_maps_of_one_cell_and_of_one_row() -> None:
    assert len(boxes_from_map([[5.0]], size=(30, 20))) == 0, "one cell is constant"
    boxes = boxes_from_map([[0, 0, 1, 0]], threshold=0.5, size=(400, 100), resolution=400)
    assert boxes.xyxy.tolist() == [[200, 0, 300, 100]]
    assert boxes_from_map([[0], [1]], threshold=0.5).xyxy.tolist() == [[0, 1, 1, 2]]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    thresholds=st.lists(st.floats(0, 0.999), max_size=8),
)
def test_many_thresholds_at_once_are_each_one_alone(seed: int, size: tuple[int, int], thresholds: list[float]) -> None:
    score_map = noise(seed)
    boxes = largest_boxes(score_map, thresholds, size=size)
    assert boxes.shape == (len(thresholds), 4)
    for box, threshold in zip(boxes, thresholds, strict=True):
        alone = boxes_from_map(score_map, threshold=threshold, size=size).xyxy
        assert np.array_equal(box[None], alone) if len(alone) else not box.any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"min_area": -0.1}, "min area"),
        ({"rule": "biggest"}, "expected largest, peak, all, nested"),
        ({"size": (0, 4)}, "each 1 or more"),
        ({"resolution": 0}, "resolution is 0"),
    ],
)
def test_bad_arguments(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        boxes_from_map([[0, 1]], **arguments)


def test_thresholds_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="fractions"):
        largest_boxes([[0, 1]], [0.5, 1.5])


def test_resolutions_above_any_photograph() -> None:
    score_map = np.zeros((1100, 1200), np.float32)
    score_map[600:900, 1000:1199] = 1
    score_map[10:40, 10:40] = 0.9
    every = boxes_from_map(score_map, rule="all", resolution=1200, min_area=0)
    assert every.xyxy.tolist() == [[1000, 600, 1199, 900], [10, 10, 40, 40]]
    assert boxes_from_map(score_map, resolution=1200).xyxy.tolist() == [[1000, 600, 1199, 900]]


def test_boxes_are_those_of_opencvs_resampling_but_for_the_last_digit() -> None:
    """OpenCV's rounding depends on the processor; it moves a pixel that lies on the threshold, and so a box by one."""
    rng = np.random.default_rng(0)
    same = 0
    for _ in range(400):
        score_map = cv2.GaussianBlur(rng.standard_normal((18, 18)).astype(np.float32), (0, 0), 2)
        heat = normalise(cv2.resize(score_map, (250, 188), interpolation=cv2.INTER_LINEAR))
        (plain,) = boxes_from_map(heat, threshold=0.5).xyxy
        (ours,) = boxes_from_map(score_map, threshold=0.5, size=(250, 188)).xyxy
        same += np.array_equal(plain, ours)
        assert np.abs(plain - ours).max() <= 1
    assert same >= 398


@given(
    seed=st.integers(0, 10**6),
    rule=st.sampled_from(["largest", "peak", "all", "nested"]),
    iou=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=50)
def test_many_maps_in_one_call_have_the_boxes_of_each(seed: int, rule: str, iou: float) -> None:
    rng = np.random.default_rng(seed)
    maps = np.round(rng.standard_normal((4, 7, 5)) * 2).astype(np.float32)
    maps[rng.integers(4)] = 1.0
    sizes = [tuple(rng.integers(1, 300, 2).tolist()) for _ in maps]
    found = extract_many(maps, sizes, threshold=0.4, rule=rule, nms_iou=iou)
    for one, size, boxes in zip(maps, sizes, found, strict=True):
        alone = extract_boxes(one, size, threshold=0.4, rule=rule)
        best = nms(alone.xyxy, alone.scores, iou)
        assert np.array_equal(boxes.xyxy, alone.xyxy[best])
        assert np.array_equal(boxes.scores, alone.scores[best])
    assert extract_many(maps[:0], [], threshold=0.4) == []
