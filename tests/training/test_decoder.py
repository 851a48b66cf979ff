"""What a map decoder is taught: targets where its cells look, the loss, and a training that finds what is there."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsl.config import DecoderConfig, Preprocessing
from wsl.images import place
from wsl.maps import normalise
from wsl.models import Features, MapDecoder
from wsl.models.grid import Grid
from wsl.training.decoder import Levels, decoder_loss, train_decoder
from wsl.training.decoder_targets import Cells, Targets, squash

CELLS = Cells((8, 8), Grid(8, 0.5), 64)


def centres(cells: Cells) -> np.ndarray:
    return cells.grid.start + cells.grid.stride * np.arange(cells.shape[0])


@pytest.mark.parametrize(("size", "resize"), [((64, 64), "warp"), ((90, 33), "warp"), ((80, 40), "letterbox")])
def test_a_target_says_what_the_map_says_where_the_cell_looks(size, resize):
    """A map that grows from left to right, fine enough to be read anywhere."""
    geometry = place(size, Preprocessing(image_size=64, resize=resize))
    ramp = np.broadcast_to(np.arange(200, dtype=np.float32), (100, 200))
    targets = Targets([[1]], CELLS, padded=resize == "letterbox")
    targets.add(0, [ramp], geometry)
    x0, y0, x1, y1 = geometry.content
    inside = (centres(CELLS) > y0) & (centres(CELLS) < y1)
    at = (centres(CELLS) - x0) / (x1 - x0)
    for view, where in enumerate((at, 1 - at)):
        dense, weights = targets.batch(np.array([0]), view, num_classes=3)
        assert dense.shape == (1, 3, 8, 8)
        assert not dense[0, [0, 2]].any()
        expected = 1 / (1 + np.exp((0.5 - where) / 0.08))
        for row in np.flatnonzero(inside):
            np.testing.assert_allclose(dense[0, 1, row], expected, atol=0.02)
        np.testing.assert_array_equal(weights[0, 0, :, 3] > 0, inside if resize == "letterbox" else True)


def test_mirrored_targets_of_a_grid_that_is_not_symmetric():
    """The last cell of the mirrored image does not look where the first of the image does."""
    blob = np.zeros((64, 64), np.float32)
    blob[20:30, 8:16] = 1
    targets = Targets([[0]], CELLS, padded=False)
    targets.add(0, [blob], place((64, 64), Preprocessing(image_size=64)))
    plain, mirrored = (targets.maps[view, 0].max(0) > 0.5 for view in (0, 1))
    assert centres(CELLS)[plain].tolist() == [8.5]
    assert centres(CELLS)[mirrored].tolist() == [48.5]


def test_a_constant_map_is_nowhere():
    assert not normalise(np.full((2, 2), 3, np.float32)).any()
    assert squash(np.zeros((1, 1), np.float32)) < 0.01


def test_the_loss_is_a_mean_over_present_pairs_and_three_times_that_over_absent_ones():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 2, 5, generator=generator)
    targets = torch.rand(3, 4, 2, 5, generator=generator)
    weights = (torch.rand(3, 1, 2, 5, generator=generator) > 0.3).float()
    labels = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    known = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
    present, absent = [], []
    for n in range(3):
        for k in range(4):
            cells = weights[n, 0].bool()
            one = F.binary_cross_entropy_with_logits(logits[n, k][cells], targets[n, k][cells])
            if known[n, k]:
                (present if labels[n, k] else absent).append(float(one))
    expected = sum(present) / len(present) + 3 * sum(absent) / len(absent)
    assert float(decoder_loss(logits, targets, weights, labels, known)) == pytest.approx(expected, rel=1e-5)


def test_labels_that_are_all_unknown_cost_nothing():
    labels, known = torch.tensor([[1, 0]]), torch.zeros(1, 2)
    loss = decoder_loss(torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1), labels, known)
    assert float(loss) == 0


def blobs(count: int) -> tuple[Levels, Targets, torch.Tensor]:
    """Features that show a thing of one of two kinds in noise, and where it is; as they are and mirrored."""
    rng = np.random.default_rng(0)
    fine = rng.normal(0, 0.3, (2, count, 4, 8, 8)).astype(np.float16)
    coarse = rng.normal(0, 0.3, (2, count, 6, 4, 4)).astype(np.float16)
    labels = torch.zeros(count, 3, dtype=torch.int8)
    targets = Targets([[int(i % 2)] for i in range(count)], CELLS, padded=False)
    for image in range(count):
        kind, x, y = image % 2, *rng.integers(0, 5, 2)
        inside = np.zeros((8, 8), np.float32)
        inside[y : y + 3, x : x + 3] = 1
        for view in (0, 1):
            fine[view, image, kind] += 2 * (inside[:, ::-1] if view else inside)
        labels[image, kind] = 1
        targets.known[image] = True
        targets.maps[0, image], targets.maps[1, image] = inside, inside[:, ::-1]
    grids = (Grid(8, 0.5), Grid(16, 0.5))
    return Levels([[fine[view], coarse[view]] for view in (0, 1)], grids, (64, 64)), targets, labels


def trained(count: int = 48, **settings) -> tuple[MapDecoder, float, Levels, Targets]:
    levels, targets, labels = blobs(count)
    torch.manual_seed(0)
    decoder = MapDecoder([4, 6], 3, width=16)
    config = DecoderConfig(**{"decoder_epochs": 12, "decoder_batch_size": 8, **settings})
    known = torch.ones_like(labels)
    loss = train_decoder(decoder, levels, targets, labels, known, config, seed=0, advance=lambda *_, **__: None)
    return decoder, loss, levels, targets


def test_it_finds_what_it_was_shown():
    decoder, loss, levels, targets = trained()
    assert loss < 0.5
    images = np.arange(len(targets.known))
    with torch.no_grad():
        maps = decoder(levels.batch(0, images, torch.device("cpu")), levels.size).sigmoid()
    wanted, _ = targets.batch(images, 0, 3)
    overlap = ((maps > 0.5) & (wanted > 0.5)).sum() / ((maps > 0.5) | (wanted > 0.5)).sum()
    assert overlap > 0.9
    assert maps[:, 2].max() < 0.1  # the class that no image shows


def test_the_same_seed_gives_the_same_weights():
    one, other = (trained(decoder_epochs=2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_image_without_targets_is_left_out():
    levels, targets, labels = blobs(9)
    targets.known[4] = False
    for level in (level for view in levels.views for level in view):
        level[4] = np.nan
    decoder, seen = MapDecoder([4, 6], 3, width=16), []
    train_decoder(
        decoder,
        levels,
        targets,
        labels,
        torch.ones_like(labels),
        DecoderConfig(decoder_epochs=1, decoder_batch_size=4),
        seed=0,
        advance=lambda count, **_: seen.append((count, torch.backends.cudnn.deterministic)),
    )
    assert seen == [(4, True)] * 2
    assert not torch.backends.cudnn.deterministic
    assert all(bool(p.isfinite().all()) for p in decoder.parameters())


def test_levels_give_the_rows_of_a_view():
    levels, _, _ = blobs(3)
    batch = levels.batch(1, np.array([2]), torch.device("cpu"))
    assert all(isinstance(level, Features) for level in batch)
    np.testing.assert_array_equal(batch[0].values, levels.views[1][0][[2]].astype(np.float32))
    assert math.isclose(batch[1].grid.stride, 16)
