"""Images in tiles: one localization of the whole, with one map per class, whatever the tiles chose."""

import itertools

import numpy as np
import pytest

from wsl import Predictor, Source
from wsl.config import RasterConfig
from wsl.errors import BadImageError, UserError
from wsl.images.raster import Window, tiles
from wsl.inference import TiledPredictor
from wsl.inference.mosaic import Mosaic

CONFIG = RasterConfig(tile=64, overlap=16)


@pytest.fixture
def tiled(predictor):
    return TiledPredictor(predictor, CONFIG, maps=True)


def put_together(size, shape, windows, most=10**6):
    """The mosaic of tiles in which each cell's value is the position of its centre in the image, x + 1000 y."""
    mosaic = Mosaic(size, windows, most)
    for x, y, width, height in windows:
        across = x + (np.arange(shape[1]) + 0.5) * width / shape[1]
        down = y + (np.arange(shape[0]) + 0.5) * height / shape[0]
        mosaic.add(Window(x, y, width, height), {"a": (across + 1000 * down[:, None]).astype(np.float32)})
    return mosaic.maps["a"]


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (100, 160), (40, 90), (300, 65)])
@pytest.mark.parametrize("overlap", [0, 16, 32])
def test_a_mosaic_has_the_tiles_values_at_their_places(size, overlap):
    windows = tiles(size, 64, overlap)
    whole = put_together(size, (8, 8), windows)
    assert whole.shape == tuple(-(-side * 8 // min(side, 64)) for side in size[::-1])
    rows, columns = whole.shape
    expected = (np.arange(columns) + 0.5) * size[0] / columns + 1000 * (np.arange(rows) + 0.5)[:, None] * size[1] / rows
    # A tile's outermost cells extend to its edge, by half a cell of at most 64 / 8 pixels.
    assert np.abs(whole - expected).max() <= 1001 * 4.01
    if overlap == 16 and size == (128, 64):
        inner = whole[:, 2:-2] - expected[:, 2:-2]
        assert np.abs(inner).max() < 1001


def test_a_single_tile_is_the_whole_map():
    score_map = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    mosaic = Mosaic((50, 40), [Window(0, 0, 50, 40)], most=35)
    mosaic.add(Window(0, 0, 50, 40), {"a": score_map})
    np.testing.assert_allclose(mosaic.maps["a"], score_map, rtol=1e-6)


def test_the_cells_of_all_maps_are_limited():
    mosaic = Mosaic((50, 40), [Window(0, 0, 50, 40)], most=10, name="a.tif")
    mosaic.add(Window(0, 0, 50, 40), {"a": np.zeros((2, 3))})
    with pytest.raises(BadImageError, match=r"a\.tif: the maps of 2 classes have 12 cells, expected at most 10: take"):
        mosaic.add(Window(0, 0, 50, 40), {"b": np.zeros((2, 3))})


def test_an_image_of_one_tile_is_localized_as_without_tiles(tiled, predictor, photos, assert_same):
    image = photos[0][:40, :60]
    found, expected = tiled(Source(image, "a")), predictor(Source(image, "a"))
    assert (found.id, found.path, found.image is image) == (expected.id, expected.path, True)
    assert_same(found, expected, 1e-5)


def test_each_class_has_a_map_of_all_tiles(tiled, predictor, photos):
    """Of each tile the two best classes are localized, and not all tiles have the same."""
    image = photos[-1]
    size, windows = image.shape[1::-1], tiles(image.shape[1::-1], 64, 16)
    crops = [image[y : y + height, x : x + width] for x, y, width, height in windows]
    chosen = [set(one.points) for one in predictor(list(map(np.ascontiguousarray, crops)))]
    union = sorted(set.union(*chosen))
    assert any(one != set(union) for one in chosen)
    found = tiled(image)
    assert set(found.maps) == set(found.points) == set(union)
    mosaic = Mosaic(size, windows, 10**6)
    for window, crop in zip(windows, crops, strict=True):
        mosaic.add(window, predictor(Source(np.ascontiguousarray(crop), classes=union)).maps)
    for label in union:
        np.testing.assert_allclose(found.maps[label], mosaic.maps[label], rtol=1e-4, atol=1e-4)


def test_maps_are_made_only_on_request_and_leave_the_boxes(tiled, predictor, photos):
    found, without = tiled(photos[-1]), TiledPredictor(predictor, CONFIG)(photos[-1])
    assert without.maps is None
    assert without.boxes.xyxy.tolist() == found.boxes.xyxy.tolist()
    assert without.scores == found.scores


def test_the_classes_of_an_image_are_localized_in_each_tile(tiled, photos):
    found = tiled(Source(photos[-1], "a", ["pig"]))
    assert set(found.maps) == set(found.points) == set(found.boxes.labels) == {"pig"}


def test_a_stream_goes_on_after_an_image_that_cannot_be_read(tiled, photos, encoded, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(photos[-1]))
    sources = [tmp_path / "a.png", Source(b"", "b"), photos[-1], tmp_path / "none.png"]
    first, second, third, fourth = tiled.stream(sources, errors="return")
    assert (first.path, first.id, third.id) == (tmp_path / "a.png", "a", "2")
    assert first.boxes.xyxy.tolist() == third.boxes.xyxy.tolist()  # as if it were alone
    assert str(second).startswith("b: ")
    assert "none.png: no such file" in str(fourth)
    stream = tiled.stream(sources)
    assert (len(list(stream)), stream.skipped) == (2, 2)


def test_what_is_not_cut(tiled, tinynet, predictor, photos):
    with pytest.raises(UserError, match="was prepared as one input of the network"):
        tiled(predictor.prepare(photos[0], id="a"))
    with pytest.raises(UserError, match="tile is None"):
        TiledPredictor(predictor, RasterConfig())
    with pytest.raises(BadImageError, match="b: has no bands to choose from, expected a GeoTIFF"):
        TiledPredictor(predictor, RasterConfig(tile=64, overlap=0, bands=(1,)))(Source(photos[0], "b"))
    small = TiledPredictor(Predictor(tinynet, device="cpu", max_pixels=100), CONFIG, maps=True)
    with pytest.raises(BadImageError, match="expected at most 100: take larger tiles or fewer classes"):
        small(photos[-1])


def test_all_cells_are_covered_whatever_the_sizes():
    """A mosaic of ones is one everywhere, also where a tile has a single cell."""
    for side, tile, overlap, cells in itertools.product((64, 65, 97, 150), (32, 64), (0, 7, 16), (1, 2, 5)):
        windows = tiles((side, side), tile, overlap)
        mosaic = Mosaic((side, side), windows, 10**6)
        for window in windows:
            mosaic.add(window, {"a": np.ones((cells, cells))})
        np.testing.assert_allclose(mosaic.maps["a"], 1, rtol=1e-6)
