"""The data set on the disk says what the canvases say, to `read_voc` and to anyone who reads the XML."""

import doctest

import numpy as np
import pytest
import voc_set
from canvases import CLASSES, draw_canvases, read_scans

from wsl.data import read_voc
from wsl.images import read_image


@pytest.fixture(scope="module")
def drawn():
    return list(draw_canvases(read_scans(), 12, seed=(8,)))


@pytest.fixture(scope="module")
def folder(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canvases")
    voc_set.write_voc(folder, "val", iter(drawn), len(drawn))
    return folder


def test_doctests():
    assert doctest.testmod(voc_set).failed == 0


def test_read_voc_gives_back_classes_labels_and_boxes(folder, drawn):
    samples = read_voc(folder, "val")
    assert samples.classes == CLASSES
    assert len(samples) == len(drawn)
    for sample, canvas in zip(samples.samples, drawn, strict=True):
        assert sample.size == canvas.pixels.shape[1::-1]
        assert sample.boxes.labels == tuple(digit.label for digit in canvas.digits)
        assert sample.boxes.xyxy.tolist() == [list(map(float, digit.box)) for digit in canvas.digits]
        assert set(sample.labels) == {digit.label for digit in canvas.digits}


def test_the_pictures_survive_their_compression(folder, drawn):
    for sample, canvas in zip(read_voc(folder, "val").samples, drawn, strict=True):
        assert np.abs(read_image(sample.path).astype(float) - canvas.pixels).mean() < 4


def test_the_same_canvases_make_the_same_files(folder, drawn, tmp_path):
    voc_set.write_voc(tmp_path, "val", iter(drawn), len(drawn))
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((folder / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)
