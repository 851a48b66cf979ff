"""Batches do not depend on the workers, and bad images cost a line and not the run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images import fit, read_image
from wsl.samples import Sample, SampleSet
from wsl.training.loading import ImageDataset, collate, start_worker

SMALL = Preprocessing(image_size=16)


@pytest.fixture
def samples(tmp_path: Path) -> SampleSet:
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    files = [tmp_path / f"{number}.png" for number in range(6)]
    return SampleSet(
        classes=("cat", "dog"), samples=tuple(Sample(path=f, labels=("dog",), ignored=("cat",)) for f in files)
    )


def augmented(samples: SampleSet, seed: int = 0) -> ImageDataset:
    return ImageDataset(samples, SMALL, augment=True, min_crop=0.3, flip=True, seed=seed)


def test_an_item_is_the_fitted_image_its_targets_and_index(samples):
    item = ImageDataset(samples, SMALL)[1, 4]
    expected, _ = fit(read_image(samples.samples[4].path), SMALL)
    assert np.array_equal(item.image.numpy(), expected)
    assert (item.targets.tolist(), item.known.tolist(), item.index) == ([0, 1], [0, 1], 4)


def test_in_the_place_of_an_unreadable_image_comes_the_next_one_and_a_line_that_says_why(samples):
    item = ImageDataset(samples, SMALL)[1, 3]
    assert item.skipped.startswith(str(samples.samples[3].path))
    assert item.index == 4
    assert torch.equal(item.image, ImageDataset(samples, SMALL)[1, 4].image)
    lost = ImageDataset(SampleSet(classes=("cat",), samples=(Sample(path="lost.png"),)), SMALL)[1, 0]
    assert lost.skipped == "lost.png: no such file"
    assert lost.image.flatten(0, 1).unique(dim=0).tolist() == [[124, 116, 104]]  # the mean colour


def test_augmentation_follows_from_seed_epoch_and_index_alone(samples):
    data = augmented(samples)
    first = data[0, 0].image.clone()
    assert torch.equal(augmented(samples)[0, 0].image, first)
    assert not torch.equal(augmented(samples, seed=1)[0, 0].image, first)
    assert not torch.equal(data[1, 0].image, first)
    assert torch.equal(data[0, 0].image, first)


def test_without_augmentation_epochs_are_alike(samples):
    data = ImageDataset(samples, SMALL, min_crop=0.3, flip=True)
    assert torch.equal(data[0, 0].image, data[5, 0].image)


def test_collate_keeps_the_shape_and_says_what_does_not_count(samples):
    data = ImageDataset(samples, SMALL)
    batch = collate([data[1, number] for number in (2, 3, 4)])
    assert tuple(batch.images.shape) == (3, 16, 16, 3)
    assert batch.images.dtype == torch.uint8
    assert (batch.index.tolist(), batch.readable.tolist(), len(batch.skipped)) == ([2, 4, 4], [True, False, True], 1)
    assert (batch.targets.tolist(), batch.known.tolist()) == ([[0, 1]] * 3, [[0, 1]] * 3)


def test_workers_decode_images_of_several_epochs(samples):
    data = augmented(samples)
    keys = [[(epoch, index) for index in part] for epoch in (0, 1) for part in ((0, 1, 2), (3, 4, 5))]
    loader = DataLoader(data, batch_sampler=keys, num_workers=2, collate_fn=collate, worker_init_fn=start_worker)
    for part, batch in zip(keys, loader, strict=True):
        assert len(batch.skipped) == ((part[0][0], 3) in part)
        assert torch.equal(batch.images, torch.stack([data[key].image for key in part]))


def test_what_spawned_workers_need_can_be_pickled(samples):
    data = augmented(samples)
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own bytes
    assert torch.equal(copy[3, 1].image, data[3, 1].image)
    for function in (collate, start_worker):  # by their names
        assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301 - our own bytes
    batch = collate([data[3, 1]])
    assert pickle.loads(pickle.dumps(batch)).index.tolist() == [1]  # noqa: S301 - our own bytes


def test_wrong_settings_are_named(samples):
    with pytest.raises(UserError, match="no samples"):
        ImageDataset(SampleSet(classes=("cat",), samples=()), SMALL)
    with pytest.raises(UserError, match="min crop is 2"):
        ImageDataset(samples, SMALL, min_crop=2)
