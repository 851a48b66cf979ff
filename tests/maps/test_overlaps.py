"""The benchmark's protocol against its algorithm in OpenCV, and the clean protocol against one threshold at a time."""

import threading

import cv2
import numpy as np
import pytest

from wsl.errors import UserError
from wsl.maps import benchmark_map, boxes_from_map, overlaps, sweep_overlaps

LEVELS = (0.3, 0.5, 0.7)
CANDIDATES = ("largest", "all")


def some_boxes(rng, shape):
    """One to three true boxes in a map, whole numbers, corners inclusive; some of a single pixel."""
    y = np.sort(rng.integers(0, shape[0], (int(rng.integers(1, 4)), 2)), axis=1)
    x = np.sort(rng.integers(0, shape[1], y.shape), axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def assert_as_published(reference, score_map, boxes):
    """Equal best IoUs at all thresholds, to the last bit, so equal successes at all levels."""
    thresholds = reference.threshold_sweep.THRESHOLDS
    published = reference.threshold_sweep.overlaps_by_level(score_map, boxes, CANDIDATES)
    for candidates, expected in zip(CANDIDATES, published, strict=True):
        ours = overlaps(score_map, boxes, thresholds, protocol="wsolevaluation", candidates=candidates)
        assert np.array_equal(ours, expected), (candidates, score_map.shape)


# 168 maps of each of twelve kinds make 2,016; seven kinds hold hundreds of levels.
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 4))])
@pytest.mark.parametrize("kind", [
    "blurred", "enlarged", "plateaus", "noisy_plateaus", "binary", "constant", "checkerboard", "rings",
    "single_pixels", "borders", "not_normalised", "single_precision",
])  # fmt: skip
@pytest.mark.quick("kind", ["blurred", "noisy_plateaus", "rings", "single_pixels", "not_normalised"])
def test_every_threshold_of_every_map_is_as_published(reference, kind, part):
    rng = np.random.default_rng([part, *kind.encode()])
    make = reference.score_maps.KINDS[kind]
    for _ in range(42):
        score_map = make(rng, int(rng.choice([6, 16, 32])))
        assert_as_published(reference, score_map, some_boxes(rng, score_map.shape))


def test_there_are_no_other_kinds(reference):
    assert len(reference.score_maps.KINDS) == 12


@pytest.mark.parametrize("kind", ["blurred", "enlarged", "plateaus", "rings", "borders"])
@pytest.mark.quick("kind", ["blurred", "plateaus"])
def test_maps_of_the_benchmarks_size(reference, kind):
    rng = np.random.default_rng(3)
    for _ in range(3):
        score_map = benchmark_map(reference.score_maps.KINDS[kind](rng, 224))
        assert_as_published(reference, score_map, some_boxes(rng, score_map.shape))


def test_one_threshold_at_a_time_is_one_level_at_a_time(reference):
    # What the tests above compare with looks once at each foreground; the benchmark looks a thousand times.
    rng = np.random.default_rng(0)
    score_map = reference.score_maps.blurred(rng, 24)
    boxes = some_boxes(rng, score_map.shape)
    for candidates in CANDIDATES:
        (quick,) = reference.threshold_sweep.overlaps_by_level(score_map, boxes, [candidates])
        assert np.array_equal(reference.threshold_sweep.overlaps(score_map, boxes, candidates), quick)


# A pass of the network over 24 photographs takes most of the time.
@pytest.mark.long
@pytest.mark.realdata
def test_real_class_maps_are_as_published(reference, realdata):
    from wsl import Localizer
    from wsl.inference import Predictor

    weights = realdata / "weights" / "mobilenet_v2-coral-tf2ptq-fp16.pth"
    model = Localizer.from_classifier("mobilenet_v2", str(weights))
    photographs = sorted((realdata / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("2007_*.jpg"))[:24]
    rng, seen = np.random.default_rng(1), 0
    for found in Predictor(model, refine="none").stream(photographs):
        for raw in found.maps.values():
            score_map = benchmark_map(raw)
            assert_as_published(reference, score_map, some_boxes(rng, score_map.shape))
            seen += 1
    assert seen >= 24


def test_a_hole_is_a_candidate_and_its_far_corner_lies_outside():
    score_map = np.zeros((12, 12))
    score_map[1:10, 1:10] = 1
    score_map[4:6, 3:7] = 0
    hole = [2, 3, 8, 7]  # its outline runs on columns 2 to 7 and rows 3 to 6
    kinds = [
        overlaps(score_map, hole, [0.5], protocol="wsolevaluation", candidates=candidates)[0]
        for candidates in CANDIDATES
    ]
    assert kinds == [35 / 100, 1.0]
    assert overlaps(score_map, hole, [0.5], candidates="all")[0] < 0.5, "components only"


def test_without_foreground_the_benchmarks_box_is_the_first_pixel():
    empty, corner = np.zeros((5, 7)), [[0, 0, 1, 0], [3, 3, 4, 4]]
    for candidates in CANDIDATES:
        assert overlaps(empty, corner, [0, 0.9], protocol="wsolevaluation", candidates=candidates).tolist() == [0.5] * 2
        assert overlaps(empty, corner, [0, 0.9], candidates=candidates).tolist() == [0, 0]


def plain_iou(box, ground_truth):
    near, far = np.maximum(box[:2], ground_truth[:, :2]), np.minimum(box[2:], ground_truth[:, 2:])
    both = np.clip(far - near, 0, None).prod(axis=1)
    return (both / ((box[2:] - box[:2]).prod() + (ground_truth[:, 2:] - ground_truth[:, :2]).prod(axis=1) - both)).max()


@pytest.mark.parametrize("candidates", CANDIDATES)
def test_the_clean_protocol_is_boxes_from_map_at_each_threshold(reference, candidates):
    rng = np.random.default_rng(4)
    thresholds = [0.9, 0, 0.333, 0.5, 0.5, 0.05, 1]
    for kind in ("blurred", "plateaus", "binary", "rings", "constant"):
        for _ in range(8):
            score_map = reference.score_maps.KINDS[kind](rng, 20)
            size = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
            ground_truth = (some_boxes(rng, size[::-1]) + np.array([0, 0, 1, 1])).astype(float)
            found = [
                boxes_from_map(score_map, threshold=t, rule=candidates, size=size, min_area=0).xyxy.astype(float)
                for t in thresholds[:-1]
            ]
            expected = [max((plain_iou(box, ground_truth) for box in boxes), default=0.0) for boxes in found]
            ours = overlaps(score_map, ground_truth, thresholds, candidates=candidates, size=size)
            assert ours.tolist() == [*expected, 0.0]


def test_benchmark_maps_are_resized_and_stretched():
    cells = np.random.default_rng(2).standard_normal((7, 5)).astype(np.float32)
    expected = cv2.resize(cells.astype(np.float64), (224, 100), interpolation=cv2.INTER_CUBIC)
    expected = expected - expected.min()
    expected /= expected.max()
    ours = benchmark_map(cells, (224, 100))
    assert ours.dtype == np.float64  # as in the benchmark, whatever the network's precision
    assert np.array_equal(ours, expected)
    assert benchmark_map(cells).shape == (224, 224)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_benchmark_maps_without_contrast_are_zero(bad):
    broken = np.arange(12.0).reshape(3, 4)
    broken[1, 1] = bad
    assert not benchmark_map(broken).any()
    assert not benchmark_map(np.full((14, 14), 0.1, np.float32)).any()


def test_a_stream_gives_the_same_in_its_order_and_is_never_read_far_ahead(reference):
    rng = np.random.default_rng(6)
    items = [(reference.score_maps.blurred(rng, 30), None) for _ in range(40)]
    items = [(score_map, some_boxes(rng, score_map.shape)) for score_map, _ in items]
    thresholds = np.arange(0, 1, 0.01)
    read = []

    def source():
        for i, item in enumerate(items):
            read.append(i)
            yield item

    for protocol in ("default", "wsolevaluation"):
        read.clear()
        stream = sweep_overlaps(source(), thresholds, protocol=protocol, candidates="all", workers=3)
        for i, best in enumerate(stream):
            alone = overlaps(*items[i], thresholds, protocol=protocol, candidates="all")
            assert np.array_equal(best, alone)
            assert len(read) <= i + 2 * 3 + 1
    sized = [(*item, (300, 200)) for item in items]
    (first, *_) = sweep_overlaps(sized, thresholds, workers=1)
    assert np.array_equal(first, overlaps(*items[0], thresholds, size=(300, 200)))


def test_a_stream_left_early_or_broken_ends_its_threads(reference):
    before = threading.active_count()
    good = (np.eye(3), [0, 0, 1, 1])
    stream = sweep_overlaps(iter([good] * 50), [0.5], workers=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before
    with pytest.raises(UserError, match="inverted"):
        list(sweep_overlaps(iter([good, (np.eye(3), [2, 2, 1, 1])]), [0.5], workers=2))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"boxes": [[3, 0, 1, 1]]}, "inverted"),
        ({"boxes": [[0, 0, np.nan, 1]]}, "not finite"),
        ({"boxes": [[0, 0, 1]]}, "expected \\(n, 4\\)"),
        ({"thresholds": [0.5, 1.2]}, "fractions"),
        ({"thresholds": 0.5}, "list of fractions"),
        ({"candidates": "some"}, "expected largest or all"),
        ({"protocol": "voc"}, "expected default or wsolevaluation"),
        ({"score_map": np.zeros((2, 2, 2))}, "expected \\(h, w\\)"),
        ({"score_map": np.zeros((0, 2))}, "expected \\(h, w\\)"),
        ({"protocol": "wsolevaluation", "score_map": np.zeros((2, 2, 2))}, "expected \\(h, w\\)"),
        ({"protocol": "wsolevaluation", "score_map": [[0, 1.5]]}, "from 0.0 to 1.5"),
        ({"protocol": "wsolevaluation", "score_map": [[0, -0.5]]}, "from -0.5"),
        ({"protocol": "wsolevaluation", "score_map": [[0, np.nan]]}, "finite numbers in \\[0, 1\\]"),
        ({"protocol": "wsolevaluation", "boxes": [[-1, 0, 1, 1]]}, "starts below 0"),
        ({"protocol": "wsolevaluation", "size": (9, 9)}, "expected the map's own"),
    ],
)
def test_what_cannot_be_used_is_said(arguments, said):
    with pytest.raises(UserError, match=said):
        overlaps(**{"score_map": [[0, 1]], "boxes": [[0, 0, 1, 1]], "thresholds": [0.5], **arguments})


def test_a_stream_needs_a_thread():
    with pytest.raises(UserError, match="1 thread or more"):
        sweep_overlaps([], [0.5], workers=0)


def test_nothing_to_find_is_not_found_and_a_box_outside_the_map_counts_whole():
    score_map = [[1.0, 0.0]]
    for protocol in ("default", "wsolevaluation"):
        assert overlaps(score_map, [], [0, 0.5], protocol=protocol).tolist() == [0, 0]
    assert overlaps(score_map, [0, 0, 4, 1], [0.5]).tolist() == [0.25]
    assert overlaps(score_map, [0, 0, 3, 0], [0.5], protocol="wsolevaluation").tolist() == [0.5]
