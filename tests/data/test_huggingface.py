"""Data sets by `hfds/NAME`, as the library `datasets` finds and prepares them."""

from pathlib import Path

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, list_splits, read_samples
from wsl.errors import UserError
from wsl.images import read_image


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The library with a cache of its own; the data set lies in the current folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("default")  # the library's own are no errors of ours
def test_a_data_set_is_prepared_once_and_read(cached, picture):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(f"pets/{split}/{name}/{name}.png")
    data = DataConfig(data=Path("hfds/pets"))
    assert detect_format(data.data) == "hfds"
    assert list_splits(data) == ("test", "train")
    train = read_samples(data, "train")
    assert train.classes == ("cat", "dog")
    assert [(sample.path.name, sample.labels) for sample in train.samples] == [
        ("cat.png", ("cat",)),
        ("dog.png", ("dog",)),
    ]
    assert read_image(train.samples[0].path).shape == (20, 40, 3)
    with pytest.raises(UserError, match=r"no split 'val'; .*test, train"):
        read_samples(data, "val")


@pytest.mark.filterwarnings("default")
def test_a_name_that_is_nowhere(cached):
    with pytest.raises(UserError, match="hfds/lost: no such data set at Hugging Face's hub or in a folder"):
        read_samples(DataConfig(data=Path("hfds/lost")), "train")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'wsl-toolkit\[datasets\]'"):
        read_samples(DataConfig(data=Path("hfds/beans")), "train")
