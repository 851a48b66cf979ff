"""Batch transforms against their definitions, on batches worked by hand, and what must not decide what is drawn."""

import numpy as np
import pytest
import torch

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images.tensors import Normalise
from wsl.training.augmentation import CutMix, HideAndSeek, create_augmentation
from wsl.training.augmentation.vision import VISION, VisionTransform
from wsl.training.loading import Batch

SIDE = 24
NORMALISE = Normalise(Preprocessing(image_size=SIDE))


def generators(count: int, first: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(first + image) for image in range(count)]


def batch(count: int = 4, classes: int = 3) -> Batch:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=rng)
    targets = (torch.rand(count, classes, generator=rng) < 0.5).float()
    return Batch(images, targets, torch.ones(count, classes), torch.arange(count), torch.ones(count, dtype=bool), ())


@pytest.mark.parametrize("grid", [8, (8,), (5, 24, 0)])
def test_hidden_cells_are_whole_and_of_the_mean_colour(grid):
    images = torch.rand(6, 3, SIDE, SIDE) + 1
    found, targets, mask = HideAndSeek(grid, p=0.5)(images, torch.ones(6, 2), torch.ones(6, 2), generators(6))
    for image, changed, generator in zip(images, found, generators(6), strict=True):
        side = int(generator.choice(grid if isinstance(grid, tuple) else (grid,)))
        expected = image.clone()
        if side:
            cells = range(-(-SIDE // side))
            drawn = generator.random((len(cells), len(cells)))
            for row in cells:
                for column in cells:
                    if drawn[row, column] < 0.5:
                        expected[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
        assert torch.equal(changed, expected)
    assert targets.all()
    assert mask.all()


def test_hide_and_seek_hides_the_part_that_it_is_told_to():
    images = torch.ones(64, 3, SIDE, SIDE)
    found, _, _ = HideAndSeek(4, p=0.25)(images, torch.ones(64, 1), torch.ones(64, 1), generators(64))
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_cutmix_exchanges_a_box_between_neighbours_and_shares_labels_by_area():
    """Each image is of one value, so that areas can be counted."""
    images = torch.arange(1.0, 6.0).view(5, 1, 1, 1).expand(5, 3, SIDE, SIDE).contiguous()
    targets, mask = torch.eye(5), torch.ones(5, 5)
    mask[1, 4] = 0
    before = images.clone()
    mixed, labels, known = CutMix(alpha=1)(images, targets, mask, generators(5, first=3))
    assert torch.equal(images, before)
    pasted = []
    for one, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        values, counts = mixed[one].unique(return_counts=True)
        shares = dict(zip(values.tolist(), (counts / counts.sum()).tolist(), strict=True))
        assert set(shares) <= {one + 1.0, other + 1.0}
        assert labels[one, one].item() == pytest.approx(shares.get(one + 1.0, 0))
        assert labels[one, other].item() == pytest.approx(shares.get(other + 1.0, 0))
        pasted.append(shares.get(other + 1.0, 0))
        rows, columns = (mixed[one, 0] == other + 1).nonzero(as_tuple=True)
        if len(rows):  # a box, in the same place of both
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert (mixed[other, 0, rows, columns] == one + 1).all()
    assert any(pasted)
    assert torch.equal(mixed[4], images[4])
    assert labels[4].tolist() == [0, 0, 0, 0, 1]
    assert known[:, 4].tolist() == [0, 0, 1, 1, 1]  # not known of one is not known of the pair


def test_cutmix_of_many_pairs_pastes_what_beta_says():
    """Half of the image on average, less what lies outside: of a uniform area and centre, analytically 0.293."""
    images = torch.zeros(800, 1, 32, 32)
    _, labels, _ = CutMix()(images, torch.eye(2).repeat(400, 1), torch.ones(800, 2), generators(800))
    share = labels[::2, 1].mean().item()
    rng = np.random.default_rng(0)
    side, centre = np.sqrt(1 - rng.random(200_000)), rng.random((2, 200_000))
    inside = np.minimum(1, centre + side / 2) - np.maximum(0, centre - side / 2)
    assert share == pytest.approx(inside.prod(0).mean(), abs=0.03)


@pytest.mark.parametrize("specs", [["hide-and-seek(grid=(4, 8))", "cutmix"], ["colorjitter(brightness=0.5)", "cutmix"]])
def test_what_is_drawn_for_an_image_does_not_depend_on_the_batch(specs):
    """As when other processes have the other images."""
    whole, augmentation = batch(), create_augmentation(specs, NORMALISE, 0, SIDE)
    together = augmentation(whole, epoch=3)
    halves = [augmentation(Batch(*(p[s] for p in whole[:5]), ()), 3) for s in (slice(0, 2), slice(2, 4))]
    for place in range(3):
        torch.testing.assert_close(together[place], torch.cat([half[place] for half in halves]), rtol=0, atol=0)
    assert not torch.equal(augmentation(whole, epoch=4)[0], together[0])
    assert not torch.equal(create_augmentation(specs, NORMALISE, 1, SIDE)(whole, 3)[0], together[0])


def test_without_transforms_images_are_normalised_and_nothing_else():
    images, targets, known = create_augmentation([], NORMALISE, 0, SIDE)(batch(), 1)
    assert torch.equal(images, NORMALISE(batch().images))
    assert torch.equal(targets, batch().targets)
    assert known.all()


@pytest.mark.parametrize("name", VISION)
def test_every_transform_of_torchvision_keeps_the_shape_and_the_generator_of_dropout(name):
    degrees = {"randomaffine": "(degrees=10)", "randomrotation": "(degrees=10)", "gaussianblur": "(kernel_size=3)"}
    needed = {"randomadjustsharpness": "(sharpness_factor=2)", "randomposterize": "(bits=4)"}
    spec = name + (degrees | needed | {"randomsolarize": "(threshold=128)"}).get(name, "")
    images, state = batch().images.permute(0, 3, 1, 2), torch.get_rng_state()
    transform = VisionTransform(spec, SIDE)
    found = transform(images, [0, 1, 2, 3])
    assert found.shape == images.shape
    assert torch.equal(found, transform(images, [0, 1, 2, 3]))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "the augmentation is '', expected one of hide-and-seek, cutmix, "),
        ("hide-and-sek", "unknown augmentation 'hide-and-sek': did you mean 'hide-and-seek'"),
        ("cutmix(alfa=1)", "augmentation 'cutmix' has no argument 'alfa': did you mean 'alpha'"),
        ("cutmix(alpha=0)", "alpha is 0, expected a number above 0"),
        ("hide-and-seek(p=2)", "p is 2, expected a probability"),
        ("hide-and-seek(grid=(1.5,))", "expected cell sizes in pixels"),
        ("randaugmnt", "unknown augmentation 'randaugmnt': did you mean 'randaugment'"),
        ("colorjitter(brightness=-1)", "colorjitter"),
        ("randomrotation", "'randomrotation' has no degrees: expected randomrotation(degrees=…"),
        ("randomcrop(size=999)", "pixels: Required crop size"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        create_augmentation([spec], NORMALISE, 0, SIDE)
