"""What a box detector is taught: goals at its places, the loss, mosaics, and a training that finds what is there."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision import ops

from wsl.boxes import Boxes
from wsl.config import DetectorConfig
from wsl.images import read_image
from wsl.models import BoxDetector, Dense, Features
from wsl.models.detector import best_places
from wsl.models.grid import Grid
from wsl.results import Localization
from wsl.samples import Sample, SampleSet
from wsl.training.detector import Scene, Scenes, train_detector
from wsl.training.detector_loss import GoalBatch, centredness, detector_loss, generalised_iou
from wsl.training.detector_rounds import labelled_boxes
from wsl.training.detector_targets import Assigner, LabelledBoxes, Part
from wsl.training.mosaics import draw_mosaics, plan_mosaics

WHOLE = (0.0, 0.0, 64.0, 64.0)


def grid_places(side: int = 64, strides=(8, 16)) -> tuple[np.ndarray, np.ndarray]:
    places = [(x, y) for s in strides for y in range(s // 2, side, s) for x in range(s // 2, side, s)]
    lengths = [s for s in strides for _ in range((side // s) ** 2)]
    return np.float32(places), np.float32(lengths)


def boxes_of(*rows) -> LabelledBoxes:
    """Rows of a class, the corners in pixels of 64, and a weight."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return LabelledBoxes(table[:, 0].astype(np.int64), table[:, 1:5] / 64, table[:, 5])


def assigned(labels, known, *boxes, parts=None):
    places, strides = grid_places()
    parts = parts or [Part(0, False, WHOLE)]
    return places, strides, Assigner(places, strides).assign(parts, boxes, np.float32(labels), np.float32(known))


def test_an_absent_class_is_absent_everywhere_and_an_unknown_one_counts_nowhere():
    _, _, goals = assigned([[1, 0, 0]], [[1, 1, 0]], boxes_of((0, 0, 0, 20, 20, 1)))
    assert (goals.counted[:, 1] == 1).all()
    assert not goals.wanted[:, 1:].any()
    assert not goals.counted[:, 2].any()


def test_of_a_present_class_nothing_is_known_outside_its_boxes():
    box = np.array([8, 8, 40, 40])
    places, strides, goals = assigned([[1, 0]], [[1, 1]], boxes_of((0, *box, 0.5)))
    inside = (places > box[:2]).all(1) & (places < box[2:]).all(1)
    assert not goals.counted[~inside, 0].any()
    assert not goals.wanted[~inside].any()
    # 20 pixels from its middle to its sides, and at most 1.5 strides off it: the farthest side is less than 32 away.
    central = inside & (np.abs(places - 24).max(1) < 1.5 * strides) & (strides == 8)
    assert central.sum() == 4
    np.testing.assert_array_equal(goals.wanted[:, 0], central)
    np.testing.assert_array_equal(goals.counted[:, 0], np.where(central, 0.5, inside))
    np.testing.assert_array_equal(goals.positive, np.where(central, 0.5, 0))
    left_top = places[central] - box[:2]
    np.testing.assert_allclose(
        goals.sides[central], np.concatenate([left_top, box[2:] - places[central]], 1), atol=1e-5
    )


def test_large_boxes_belong_to_the_coarser_level():
    _, strides, goals = assigned([[1]], [[1]], boxes_of((0, 0, 0, 64, 64, 1)))
    assert goals.wanted[strides == 16].any()
    assert not goals.wanted[strides == 8].any()
    assert (goals.counted[strides == 8] == 1).all()  # its inside is not where a small one is


def test_of_two_boxes_in_one_place_the_smaller_one_is_learnt():
    _, _, goals = assigned([[1, 1]], [[1, 1]], boxes_of((0, 0, 0, 48, 48, 1), (1, 12, 12, 36, 36, 0.8)))
    both = goals.wanted[:, 1] == 1
    assert both.any()
    assert not goals.wanted[both, 0].any()
    np.testing.assert_allclose(goals.counted[both, 1], 0.8)
    claimed = both & (goals.counted[:, 0] == 0)
    assert claimed.any()  # where the larger one would have been, it counts as nothing


def test_in_a_mosaic_each_part_says_what_is_absent_in_it():
    """A dog on the left, a cat on the right: no cat on the left, no dog on the right, and above them nothing at all."""
    parts = [Part(0, False, (0.0, 32.0, 32.0, 64.0)), Part(1, True, (32.0, 32.0, 64.0, 64.0))]
    dog, cat = boxes_of((0, 0, 0, 64, 64, 1)), boxes_of((1, 0, 0, 16, 64, 1))
    places, _, goals = assigned([[1, 0], [0, 1]], [[1, 1], [1, 1]], dog, cat, parts=parts)
    above, left = places[:, 1] < 32, places[:, 0] < 32
    assert (goals.counted[above] == 1).all()
    assert not goals.wanted[above].any()
    assert (goals.counted[~above & left, 1] == 1).all()
    assert (goals.counted[~above & ~left, 0] == 1).all()
    assert goals.wanted[~above & left, 0].any()
    # Mirrored and half as wide, the cat's box is the rightmost quarter of its part.
    shown = np.flatnonzero(goals.wanted[:, 1])
    assert len(shown)
    right = places[shown, 0] + goals.sides[shown, 2]
    np.testing.assert_allclose(right, 64, atol=1e-4)
    np.testing.assert_allclose(places[shown, 0] - goals.sides[shown, 0], 56, atol=1e-4)


def dense(classes, centred, sides) -> Dense:
    count = classes.shape[1]
    return Dense(classes, centred, sides, torch.zeros(count, 2), torch.ones(count))


def test_the_loss_is_what_torchvision_gives_weighed_by_how_sure_the_boxes_are():
    generator = torch.Generator().manual_seed(0)
    classes, centred = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 5, generator=generator)
    found, wanted = (torch.rand(2, 5, 4, generator=generator) * 20 + 1 for _ in range(2))
    labels = torch.zeros(2, 5, 3)
    labels[0, 1, 2] = labels[1, 4, 0] = 1
    counted = torch.rand(2, 5, 3, generator=generator).round()
    positive = torch.zeros(2, 5)
    positive[0, 1], positive[1, 4] = 0.9, 0.3
    counted[0, 1, 2], counted[1, 4, 0] = 0.9, 0.3

    def around(sides):  # boxes around the origin
        return torch.cat([-sides[:, :2], sides[:, 2:]], 1)

    total = 1.2
    focal = ops.sigmoid_focal_loss(classes, labels, alpha=0.25, gamma=2)
    where = [(0, 1), (1, 4)]
    boxes = torch.cat([found[n, i][None] for n, i in where]), torch.cat([wanted[n, i][None] for n, i in where])
    weights, middle = torch.tensor([0.9, 0.3]), centredness(boxes[1])
    giou = ops.generalized_box_iou_loss(around(boxes[0]), around(boxes[1]))
    logits = torch.stack([centred[n, i] for n, i in where])
    expected = (focal * counted).sum() / total
    expected += (giou * weights * middle).sum() / (weights * middle).sum()
    expected += (F.binary_cross_entropy_with_logits(logits, middle, reduction="none") * weights).sum() / total
    loss = detector_loss(dense(classes, centred, found), GoalBatch(labels, counted, wanted, positive))
    torch.testing.assert_close(loss, expected)
    overlaps = torch.diagonal(ops.generalized_box_iou(around(boxes[0]), around(boxes[1])))
    torch.testing.assert_close(generalised_iou(*boxes), overlaps)


def test_what_does_not_count_has_no_gradient():
    classes = torch.randn(1, 4, 2, requires_grad=True)
    counted = torch.zeros(1, 4, 2)
    counted[0, 0] = 1
    loss = detector_loss(
        dense(classes, torch.zeros(1, 4), torch.ones(1, 4, 4)),
        GoalBatch(torch.zeros(1, 4, 2), counted, torch.zeros(1, 4, 4), torch.zeros(1, 4)),
    )
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert (classes.grad[0, 0] != 0).all()
    assert not classes.grad[0, 1:].any()


def test_boxes_that_are_much_less_sure_than_the_best_are_left_out():
    boxes = Boxes(
        xyxy=[[0, 0, 50, 40], [60, 0, 90, 40], [5, 0, 50, 40], [0, 0, 90, 40]],
        labels=["dog", "dog", "dog", "cat"],
        scores=[0.4, 0.1, 0.3, 0.01],
    )
    found = labelled_boxes(Localization(path="a.jpg", size=(100, 40), scores={}, boxes=boxes), ["cat", "dog"])
    assert sorted(zip(found.classes.tolist(), found.weights.tolist(), strict=True)) == [(0, 1.0), (1, 1.0)]
    assert found.xyxy.max() == 1
    assert not len(labelled_boxes(None, ["cat"]).weights)


def test_mosaics_are_of_photographs_of_one_class_of_which_all_is_known(tmp_path):
    labels = np.float32([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [0, 0]])
    known = np.float32([[1, 1], [1, 1], [1, 1], [1, 0], [1, 1], [1, 1]])
    plans = plan_mosaics(labels, known, np.array([True] * 4 + [False, True]), 20, 40, seed=1)
    assert {part.image for parts in plans for part in parts} == {0, 1}
    assert plans == plan_mosaics(labels, known, np.array([True] * 4 + [False, True]), 20, 40, seed=1)
    assert not plan_mosaics(labels[2:3], known[2:3], np.array([True]), 20, 40, seed=1)
    paths = []
    for number, grey in enumerate((40, 200)):
        picture = np.full((30, 50, 3), grey, np.uint8)
        picture[:, :25] = 120
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), picture)
    samples = SampleSet(classes=["cat", "dog"], samples=[Sample(path=path) for path in paths])
    drawn = draw_mosaics(plans[:3], samples, 40, tmp_path / "mosaics")
    for sample, parts in zip(drawn.samples, plans, strict=False):
        image = read_image(sample.path)
        assert image.shape == (40, 40, 3)
        for part in parts:
            x0, y0, x1, y1 = map(int, part.corners)
            cell = image[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(int)
            if part.mirrored:
                cell = cell[:, ::-1]
            assert abs(cell[:, 1].mean() - 120) < 8
            assert abs(cell[:, -2].mean() - (40, 200)[part.image]) < 8


def things(count: int) -> tuple[Scenes, list[LabelledBoxes], np.ndarray]:
    """Features that show a thing of one of two kinds in noise, as they are and mirrored, and its box."""
    rng = np.random.default_rng(0)
    fine = rng.normal(0, 0.2, (2, count, 4, 8, 8)).astype(np.float16)
    coarse = rng.normal(0, 0.2, (2, count, 6, 4, 4)).astype(np.float16)
    labels, boxes, items = np.zeros((count, 3), np.float32), [], []
    for image in range(count):
        kind, x, y = image % 2, *rng.integers(0, 5, 2)
        inside = np.zeros((8, 8), np.float16)
        inside[y : y + 3, x : x + 3] = 2
        for view in (0, 1):
            fine[view, image, kind] += inside[:, ::-1] if view else inside
        labels[image, kind] = 1
        boxes.append(boxes_of((kind, 8 * x, 8 * y, 8 * x + 24, 8 * y + 24, 1)))
        items.append(tuple(Scene(view, image, (Part(image, bool(view), WHOLE),)) for view in (0, 1)))
    views = [[fine[view], coarse[view]] for view in (0, 1)]
    return Scenes(items, views, (Grid(8, 4), Grid(16, 8)), (64, 64)), boxes, labels


def trained(count: int = 32, **settings) -> tuple[BoxDetector, float, Scenes, list[LabelledBoxes]]:
    scenes, boxes, labels = things(count)
    torch.manual_seed(0)
    detector = BoxDetector([4, 6], 3, width=16)
    config = DetectorConfig(**{"detector_epochs": 40, "detector_batch_size": 8, "detector_lr": 0.01, **settings})
    loss = train_detector(
        detector,
        scenes,
        boxes,
        labels,
        np.ones_like(labels),
        config,
        dtype=torch.float32,
        seed=0,
        advance=lambda *_, **__: None,
    )
    return detector, loss, scenes, boxes


def test_it_finds_what_it_was_shown():
    detector, loss, scenes, boxes = trained()
    assert loss < 1
    with torch.no_grad():
        shown = scenes.features([item[0] for item in scenes.items], torch.device("cpu"))
        found = detector(shown, scenes.size)
    every = best_places(found.xyxy, found.scores, torch.arange(3).expand(len(boxes), -1))
    kinds = torch.tensor([int(one.classes[0]) for one in boxes])
    rows = torch.arange(len(boxes))
    wanted = torch.from_numpy(np.concatenate([one.xyxy for one in boxes])) * 64
    assert torch.diagonal(ops.box_iou(every.xyxy[rows, kinds, 0], wanted)).mean() > 0.6
    best = every.scores[..., 0]
    assert (best[rows, kinds] > best[rows, 1 - kinds]).all()
    assert best[:, 2].max() < best[rows, kinds].min()  # the class that no image shows


def test_the_same_seed_gives_the_same_weights():
    one, other = (trained(8, detector_epochs=2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_goals_of_no_box_train_what_is_absent():
    scenes, _, labels = things(4)
    detector = BoxDetector([4, 6], 3, width=16)
    nothing = [LabelledBoxes.none()] * 4
    config = DetectorConfig(detector_epochs=1, detector_batch_size=3)
    seen = []
    train_detector(
        detector,
        scenes,
        nothing,
        labels,
        np.ones_like(labels),
        config,
        dtype=torch.float32,
        seed=0,
        advance=lambda count, **_: seen.append(count),
    )
    assert seen == [3, 1]
    assert all(bool(p.isfinite().all()) for p in detector.parameters())


@pytest.mark.parametrize("grid", [Grid(8, 0.5), None])
def test_places_are_where_the_cells_look(grid):
    detector = BoxDetector([4], 2, width=16).eval()
    found = detector([Features(torch.zeros(1, 4, 8, 8), grid)], (64, 64))
    first, apart = (0.5, 8) if grid else (4, 8)
    assert found.places[:9].tolist() == [[first + apart * i, first] for i in range(8)] + [[first, first + apart]]
    assert found.strides.unique().tolist() == [8, 16, 32, 64]
    assert found.classes.sigmoid().max() < 0.02
