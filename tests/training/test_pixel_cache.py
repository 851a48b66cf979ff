"""Kept pixels: the same images again without a decoder, bounded, and found by every process."""

import dataclasses
import errno
import os
import pickle
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wsl.config import DataConfig, OptimConfig, Preprocessing, TrainConfig
from wsl.errors import RunError, UserError
from wsl.models import Localizer
from wsl.samples import SampleSet
from wsl.training import loading, pixel_cache
from wsl.training.loading import ImageDataset, collate, start_worker
from wsl.training.order import Order
from wsl.training.pixel_cache import PixelCache, create_cache
from wsl.training.sources import ImageSource

SMALL = Preprocessing(image_size=16)


def config(out, cache: str, min_crop: float = 1.0, **more) -> TrainConfig:
    optim = OptimConfig(min_crop=min_crop)
    return TrainConfig(
        data=DataConfig(data=out), out=out / "run", preprocessing=SMALL, optim=optim, cache=cache, **more
    )


def dataset(samples: SampleSet, out, cache: str, min_crop: float = 1.0, **more) -> ImageDataset:
    settings = config(out, cache, min_crop, **more)
    return ImageDataset(
        samples, SMALL, augment=True, min_crop=min_crop, flip=True, cache=create_cache(settings, samples)
    )


def shown(data: ImageDataset, epoch: int) -> torch.Tensor:
    return torch.stack([data[epoch, index].image for index in range(len(data))])


@pytest.mark.parametrize("kind", ["ram", "disk"])
@pytest.mark.parametrize("min_crop", [1.0, 0.4])
def test_later_epochs_decode_nothing_and_show_what_the_first_would(samples, tmp_path, monkeypatch, kind, min_crop):
    data, again = (dataset(samples, tmp_path / name, kind, min_crop) for name in "ab")
    first = shown(data, 1), shown(again, 2)
    monkeypatch.setattr(loading, "read_image", None)  # nobody calls it
    assert torch.equal(shown(data, 2), first[1])
    assert torch.equal(shown(data, 1), first[0])


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_images_are_those_without_a_cache_but_for_rounding(samples, tmp_path, kind):
    plain, kept = dataset(samples, tmp_path, "none"), dataset(samples, tmp_path, kind)
    for epoch in (1, 2):
        assert (shown(plain, epoch).int() - shown(kept, epoch).int()).abs().max() <= 1


def test_another_run_finds_the_disk_s_and_other_settings_or_files_do_not(samples, tmp_path, monkeypatch):
    shown(dataset(samples, tmp_path, "disk"), 1)
    monkeypatch.setattr(loading, "read_image", None)
    shown(dataset(samples, tmp_path, "disk"), 1)
    with pytest.raises(TypeError):
        shown(dataset(samples, tmp_path, "disk", min_crop=0.5), 1)
    samples.samples[0].path.write_bytes(samples.samples[1].path.read_bytes() + b"more")
    with pytest.raises(TypeError):
        shown(dataset(samples, tmp_path, "disk"), 1)


def test_it_keeps_as_many_as_fit(samples, tmp_path, monkeypatch):
    data = dataset(samples, tmp_path, "ram", cache_size=3 * 16 * 16 * 3 / 1e9)
    shown(data, 1)
    read = loading.read_image
    seen = []
    monkeypatch.setattr(loading, "read_image", lambda path, most: seen.append(path.stem) or read(path))
    shown(data, 2)
    assert seen == list("3456789")


@pytest.mark.parametrize(("images", "told"), [(3, 1), (11, 0)])
def test_a_cache_that_is_too_small_for_all_says_so(samples, tmp_path, caplog, images, told):
    settings = config(tmp_path, "ram", cache_size=images * 16 * 16 * 3 / 1e9)
    model = Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=SMALL)
    ImageSource(model, samples, None, settings, torch.device("cpu"), Order(len(samples), 4, 0))
    assert caplog.messages == ["--cache holds 3 of 10 images: give a larger --cache-size for more"][:told]


def test_an_unreadable_image_is_not_kept(samples, tmp_path):
    path = samples.samples[2].path
    whole = path.read_bytes()
    path.write_bytes(b"broken")
    data = dataset(samples, tmp_path, "ram")
    assert data[1, 2].skipped
    path.write_bytes(whole)
    assert not data[1, 2].skipped


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_workers_fill_one_cache(samples, tmp_path, monkeypatch, kind):
    data = dataset(samples, tmp_path, kind)
    keys = [[(1, index), (1, index + 1)] for index in range(0, 10, 2)]
    for _ in DataLoader(data, batch_sampler=keys, num_workers=2, collate_fn=collate, worker_init_fn=start_worker):
        pass
    monkeypatch.setattr(loading, "read_image", None)
    assert len(shown(data, 3)) == 10


def test_it_can_be_sent_to_another_process(tmp_path):
    cache = PixelCache(2, 4, 1, tmp_path / "a.npy")
    cache.put(0, np.full((4, 4, 3), 7, np.uint8))
    copy = pickle.loads(pickle.dumps(cache))  # noqa: S301 - our own bytes
    assert copy.get(0).sum() == 7 * 48
    assert copy.get(1) is None
    assert copy.get(5) is None


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch, kind):
    usage = pixel_cache.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda _: usage._replace(free=100))
    monkeypatch.setattr(pixel_cache, "_SHARED", tmp_path)
    with pytest.raises(RunError, match=r"--cache of 5 images takes .* give a smaller --cache-size, or --cache"):
        PixelCache(5, 16, 1, tmp_path / "a.npy" if kind == "disk" else None)


def test_settings_that_contradict_each_other(tmp_path):
    with pytest.raises(UserError, match="crops of letterboxed images would have bars"):
        dataclasses.replace(config(tmp_path, "ram", 0.5), preprocessing=Preprocessing(resize="letterbox"))
    with pytest.raises(UserError, match="cache size is 0"):
        config(tmp_path, "ram", cache_size=0)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:50], lambda data: b"no array" + data[8:], lambda data: data[:-9]]
)
def test_a_damaged_file_is_made_anew(tmp_path, caplog, damage):
    file = tmp_path / "pixels.npy"
    PixelCache(2, 4, 1, file).put(1, np.ones((4, 4, 3), np.uint8))
    assert PixelCache(2, 4, 1, file).get(1) is not None
    file.write_bytes(damage(file.read_bytes()))
    assert PixelCache(2, 4, 1, file).get(1) is None
    assert "pixels.npy is damaged" in caplog.text


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / ".pixels").touch()
    with pytest.raises(RunError, match=r"--cache disk cannot write to .*\.pixels .*give --cache ram, or none"):
        PixelCache(2, 4, 1, tmp_path / ".pixels" / "pixels.npy")


@pytest.mark.skipif(sys.platform != "linux", reason="the space is taken beforehand on Linux only")
def test_its_space_is_taken_before_it_is_needed(tmp_path, monkeypatch):
    PixelCache(5, 64, 1, tmp_path / "a.npy")
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 5 * 64 * 64 * 3

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pixel_cache.os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"--cache disk cannot write to .* \(No space left on device\): give it room"):
        PixelCache(5, 64, 1, tmp_path / "b.npy")
    assert not list(tmp_path.glob("*b*"))
