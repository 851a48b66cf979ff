"""Kept features: when they are computed again, and that nothing half-written is taken for whole."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from wsl.config import Preprocessing, RuntimeConfig
from wsl.errors import RunError
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet
from wsl.training import features as module
from wsl.training.features import FeatureCache, identify_files

CPU = torch.device("cpu")


class Counting:
    """A model whose backbone counts the images it has seen."""

    def __init__(self, seed: int = 0, size: int = 32, **preprocessing) -> None:
        torch.manual_seed(seed)
        settings = Preprocessing(image_size=size, **preprocessing)
        self.model = Localizer("tinynet", 3, weights="none", preprocessing=settings)
        self.images = 0
        self.model.backbone.register_forward_hook(self._count)

    def _count(self, module, inputs, output) -> None:
        self.images += len(inputs[0])


def cache(tmp_path, model: Localizer, precision: str = "fp32") -> FeatureCache:
    return FeatureCache(tmp_path / "cache", model, RuntimeConfig(workers=0, precision=precision), CPU)


def test_features_are_the_backbone_s_in_half_precision(samples, tmp_path):
    counted = Counting()
    kept = cache(tmp_path, counted.model).features(samples, mirrored=False)
    assert (kept.shape, kept.dtype, counted.images) == ((10, 128, 4, 4), np.float16, 10)
    assert isinstance(kept, np.memmap)
    assert not kept.flags.writeable
    assert FeatureCache.readable(kept).all()


def test_another_head_on_the_same_backbone_runs_it_no_more(samples, tmp_path):
    first, second = Counting(), Counting()
    torch.nn.init.zeros_(second.model.head.conv.weight)
    kept = cache(tmp_path, first.model).features(samples, mirrored=False)
    again = cache(tmp_path, second.model).features(samples, mirrored=False)
    assert (first.images, second.images) == (10, 0)
    assert np.array_equal(kept, again)


def test_poolings_without_parameters_inside_the_backbone_compute_them_again(samples, tmp_path):
    kept = []
    for downsampling in (None, "softpool2d"):
        torch.manual_seed(0)
        settings = {"weights": "none", "preprocessing": Preprocessing(image_size=64), "downsampling": downsampling}
        model = Localizer("squeezenet1_1", 3, **settings)
        kept.append(cache(tmp_path, model).features(samples, mirrored=False).copy())
    assert not np.array_equal(*kept)


@pytest.mark.parametrize("change", ["weights", "buffer", "size", "resize", "precision", "mirrored", "file"])
def test_whatever_changes_the_features_computes_them_again(change, samples, tmp_path):
    cache(tmp_path, Counting().model).features(samples, mirrored=False)
    changed = Counting(seed=change == "weights", size=40 if change == "size" else 32)
    if change == "resize":
        changed = Counting(resize="letterbox")
    if change == "buffer":
        changed.model.backbone.net[1].running_mean += 1
    if change == "file":
        path = samples.samples[3].path
        os.utime(path, (1, 1))
    precision = "bf16" if change == "precision" else "fp32"
    cache(tmp_path, changed.model, precision).features(samples, mirrored=change == "mirrored")
    assert changed.images == 10


def test_an_interrupted_computation_leaves_nothing_behind(samples, tmp_path, monkeypatch):
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return (), 0

    monkeypatch.setattr(module, "_BATCH", 4)
    with monkeypatch.context() as patch:
        patch.setattr(module, "report_skipped", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache(tmp_path, Counting().model).features(samples, mirrored=False)
    assert not (tmp_path / "cache").exists()
    whole = Counting()
    assert np.isfinite(cache(tmp_path, whole.model).features(samples, mirrored=False)).all()
    assert whole.images == 10


def test_an_image_that_can_be_read_again_is_read_again(samples, tmp_path, monkeypatch):
    """As after a network drive's hiccup, which changes no file."""
    lost = samples.samples[2].path
    content, status = lost.read_bytes(), lost.stat()
    with monkeypatch.context() as patch:
        patch.setattr("wsl.training.features.read_image", lambda path, _: _unreadable(path, lost))
        first = cache(tmp_path, Counting().model)
        assert FeatureCache.readable(first.features(samples, mirrored=False)).sum() == 9
        assert len(first.skipped) == 1
    lost.write_bytes(content)
    os.utime(lost, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = cache(tmp_path, Counting().model)
    assert FeatureCache.readable(second.features(samples, mirrored=False)).all()
    assert not second.skipped


def _unreadable(path, lost):
    from wsl.errors import BadImageError
    from wsl.images import read_image

    if path == lost:
        raise BadImageError(f"{path}: input/output error")
    return read_image(path)


def test_leading_unreadable_batches_wait_for_the_shape(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    for sample in samples.samples[:5]:
        sample.path.write_bytes(b"")
    kept = cache(tmp_path, Counting().model).features(samples, mirrored=False)
    assert FeatureCache.readable(kept).tolist() == [False] * 5 + [True] * 5
    assert np.isnan(kept[:5]).all()
    assert np.isfinite(kept[5:]).all()


def test_features_that_are_not_finite_are_an_error_not_an_unreadable_image(samples, tmp_path):
    model = Counting().model
    model.backbone.net[0].weight.data[0] = torch.nan
    with pytest.raises(RunError, match="not finite"):
        cache(tmp_path, model).features(samples, mirrored=False)
    assert not (tmp_path / "cache").exists()


def test_features_beyond_half_precision_are_clamped(samples, tmp_path):
    model = Counting().model
    model.backbone.net[-2].weight.data *= 1e7
    kept = cache(tmp_path, model).features(samples, mirrored=False)
    assert np.isfinite(kept).all()
    assert kept.max() == np.finfo(np.float16).max


SCRIPT = """
import sys, torch
from pathlib import Path
from wsl.config import Preprocessing, RuntimeConfig
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet
from wsl.training.features import FeatureCache
torch.set_num_threads(1)
torch.manual_seed(0)
folder = Path(sys.argv[1])
samples = SampleSet(classes=["a"], samples=[Sample(path=folder / f"{i}.png", labels=["a"]) for i in range(10)])
model = Localizer("tinynet", 1, weights="none", preprocessing=Preprocessing(image_size=32))
cache = FeatureCache(folder / "cache", model, RuntimeConfig(workers=0, precision="fp32"), torch.device("cpu"))
print(float(cache.features(samples, mirrored=False).astype("f4").sum()))
"""


@pytest.mark.long
def test_processes_that_compute_the_same_at_once_agree(samples, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "header", "other"])
def test_a_damaged_file_is_computed_again(damage, samples, tmp_path, caplog):
    first = cache(tmp_path, Counting().model).features(samples, mirrored=False).copy()
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    if damage == "other":
        np.save(file, np.zeros(3))
    else:
        file.write_bytes(data[: len(data) // 2] if damage == "cut" else b"\x93NUMPY\x01\x00\xff\xff{" + data[20:])
    again = Counting()
    assert np.array_equal(cache(tmp_path, again.model).features(samples, mirrored=False), first)
    assert again.images == 10
    assert "its features are computed again" in caplog.text


def test_an_archive_that_changes_has_other_images(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"first")
    inside = SampleSet(classes=[], samples=[Sample(path=archive / "a.png")])
    before = identify_files(inside)
    assert before[0][1] is not None
    archive.write_bytes(b"another one")
    assert identify_files(inside) != before
