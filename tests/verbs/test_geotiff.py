"""GeoTIFFs in tiles: what the network sees of them, their boxes in pixels of the raster, and on the map."""

import itertools
import json
import sys
import tarfile
import warnings

import numpy as np
import pytest

import wsl
from wsl import cli
from wsl.boxes import Boxes
from wsl.config import ExportConfig, LocalizeConfig, RasterConfig, ShardConfig
from wsl.errors import BadImageError, UserError
from wsl.formats import LocalizationWriter, read_localizations
from wsl.images import read_image
from wsl.images.raster import Place, Raster, Window, load_rasterio, outline, place_of, tiles
from wsl.inference.tiled import merged
from wsl.limits import allowing
from wsl.results import Localization
from wsl.verbs import export as verb


@pytest.fixture
def write(tmp_path):
    """Write the bands (bands, h, w) of a GeoTIFF and give its path; its pixels are 10 m of UTM 32N from the equator."""
    rasterio = pytest.importorskip("rasterio")

    def write(name, bands, crs="EPSG:32632", left=500_000.0, top=0.0, **options):
        path = tmp_path / name
        transform = rasterio.Affine(10, 0, left, 0, -10, top)
        count, height, width = bands.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            options = {"transform": transform, "crs": crs, **options} if crs else options
            shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
            with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
                file.write(bands)
        return path

    return write


@pytest.mark.parametrize("size", [(100, 40), (64, 64), (65, 200), (10, 7), (1, 1)])
@pytest.mark.parametrize("overlap", [0, 16, 32])
def test_tiles_cover_an_image_and_share_the_overlap(size, overlap):
    seen = np.zeros(size[::-1], int)
    windows = tiles(size, 64, overlap)
    for x, y, width, height in windows:
        assert x >= 0 <= y
        assert (width, height) == (min(64, size[0]), min(64, size[1]))
        assert x + width <= size[0]
        assert y + height <= size[1]
        seen[y : y + height, x : x + width] += 1
    assert seen.min() == 1 or overlap
    assert seen.min() >= 1
    assert len(set(windows)) == len(windows)
    columns = sorted({window.x for window in windows})
    assert all(right - left <= 64 - overlap for left, right in itertools.pairwise(columns))


def test_bands_of_8_bits_are_taken_as_they_are(write):
    bands = np.random.default_rng(0).integers(0, 256, (4, 30, 50), np.uint8)
    path = write("a.tif", bands)
    with Raster.open(path, (4, 3, 2)) as raster:
        assert raster.size == (50, 30)
        np.testing.assert_array_equal(
            raster.read(Window(5, 7, 20, 10)), bands[[3, 2, 1], 7:17, 5:25].transpose(1, 2, 0)
        )
    with Raster.open(path) as raster:
        np.testing.assert_array_equal(raster.read(Window(0, 0, 50, 30)), bands[:3].transpose(1, 2, 0))
    with Raster.open(path, (2,)) as raster:
        np.testing.assert_array_equal(raster.read(Window(0, 0, 50, 30))[..., 2], bands[1])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_bands_are_shown_between_two_percentiles(write, dtype):
    values = np.random.default_rng(0).integers(300, 9000, (1, 40, 60)).astype(dtype)
    values[0, :5] = 0  # no-data, which would be the lowest
    with Raster.open(write("a.tif", values, nodata=0)) as raster:
        shown = raster.read(Window(0, 0, 60, 40))
    low, high = np.percentile(values[values != 0].astype(np.float64), (2, 98))
    expected = np.clip(np.rint((values[0].astype(np.float64) - low) * (255 / (high - low))), 0, 255)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], expected)
    with Raster.open(write("flat.tif", np.full((1, 4, 4), 77, dtype))) as raster:
        assert raster.read(Window(0, 0, 4, 4)).max() == 0


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 128, "blockysize": 128}])
def test_percentiles_are_of_every_nth_pixel(write, monkeypatch, options):
    monkeypatch.setattr("wsl.images.raster._SAMPLED", 100)
    values = np.random.default_rng(0).integers(0, 9000, (2, 530, 290), np.uint16)
    with Raster.open(write("a.tif", values, **options), (2,)) as raster:
        shown = raster.read(Window(0, 0, 290, 530))[..., 0]
    low, high = np.percentile(values[1, ::6, ::6], (2, 98))
    np.testing.assert_array_equal(shown, np.clip(np.rint((values[1] - low) * (255 / (high - low))), 0, 255))


def test_the_best_of_overlapping_boxes_stays():
    def found(score, *corners, label="dog"):
        boxes = Boxes(xyxy=list(corners), labels=[label] * len(corners), scores=[score] * len(corners))
        return Localization(path="a", size=(64, 64), scores={label: score}, boxes=boxes, points={label: (1, 2)})

    parts = [
        (Window(0, 0, 64, 64), found(0.6, [40, 0, 60, 20])),
        (Window(32, 0, 64, 64), found(0.9, [8, 0, 29, 20], [40, 40, 50, 50])),  # the first dog again
        (Window(32, 0, 64, 64), found(0.5, [8, 0, 29, 20], label="cat")),
    ]
    whole = merged("a.tif", (96, 64), parts)
    assert whole.boxes.labels == ("dog", "dog", "cat")
    assert whole.boxes.xyxy.tolist() == [[40, 0, 61, 20], [72, 40, 82, 50], [40, 0, 61, 20]]
    assert whole.scores == {"dog": 0.9, "cat": 0.5}
    assert whole.points["dog"] == (33, 2)
    assert merged("a.tif", (96, 64), parts, nms_iou=1).boxes.labels == ("dog", "dog", "dog", "cat")


def test_boxes_far_from_the_corner_are_compared_as_those_near_it():
    """Their sums with numbers of classes, as `torchvision.ops.batched_nms` compares them, would be rounded."""
    labels = [f"class {number}" for number in range(200)]
    boxes = Boxes(xyxy=[[0, 0, 3, 3], [1, 1, 4, 4]] * 200, labels=[label for label in labels for _ in "ab"])
    found = Localization(path="a", size=(64, 64), scores=dict.fromkeys(labels, 1.0), boxes=boxes)
    whole = merged("a.tif", (300_064, 64), [(Window(300_000, 0, 64, 64), found)])
    assert len(whole.boxes) == 400


def test_the_score_of_a_picked_class_stays_however_low_it_is():
    scores = {f"class {number}": 0.9 - number / 1000 for number in range(150)} | {"emu": 0.01, "gnu": 0.02}
    points = {"emu": (1, 2), "gnu": (3, 4), "class 0": (5, 6)}
    found = Localization(path="a", size=(64, 64), scores=scores, boxes=Boxes.empty(), points=points)
    whole = merged("a.tif", (64, 64), [(Window(0, 0, 64, 64), found)])
    assert list(whole.scores) == [*list(scores)[:100], "gnu", "emu"]


def test_the_command_line(run, photos, write, tmp_path, capsys):
    picture = read_image(photos / "val00.png")
    wide = np.concatenate([picture, picture[:, ::-1], picture], axis=1)
    side = picture.shape[0]
    path = write("scene.tif", wide.transpose(2, 0, 1))
    out = tmp_path / "found"
    command = [str(path), "--weights", str(run), "--out", str(out), "--device", "cpu", "--tile", str(side)]
    command += ["--overlap", "8", "--top-k", "1"]
    assert cli.localize(command) == 0
    (found,) = read_localizations(out)
    assert (found.path, found.size) == (path, wide.shape[1::-1])
    predictor = wsl.Predictor(wsl.load(run), top_k=1)
    windows = tiles(found.size, side, 8)
    crops = [np.ascontiguousarray(wide[y : y + h, x : x + w]) for x, y, w, h in windows]
    expected = merged(path, found.size, zip(windows, [predictor(crop) for crop in crops], strict=True))
    assert found.boxes.labels == expected.boxes.labels
    np.testing.assert_allclose(found.boxes.xyxy, expected.boxes.xyxy, atol=0.01)
    assert found.boxes.xyxy[:, 2].max() > side  # beyond the first tile

    assert cli.export([str(out), "--format", "geojson", "--out", str(tmp_path / "map")]) == 0
    document = json.loads((tmp_path / "map" / "boxes.geojson").read_text(encoding="utf-8"))
    assert "crs" not in document
    assert [one["properties"]["label"] for one in document["features"]] == list(found.boxes.labels)
    for feature, (x0, _, x1, _) in zip(document["features"], found.boxes.xyxy.tolist(), strict=True):
        longitudes, latitudes = zip(*feature["geometry"]["coordinates"][0], strict=True)
        # Near 9° E on the equator a degree is 111 km, and UTM's scale 0.9996.
        assert min(longitudes) == pytest.approx(9 + x0 * 10 / 0.9996 / 111_320, abs=1e-6)
        assert max(longitudes) == pytest.approx(9 + x1 * 10 / 0.9996 / 111_320, abs=1e-6)
        assert max(latitudes) <= 1e-9

    assert cli.localize([*command, "--resume", "--overlap", "4"]) == 2
    assert "raster.overlap" in capsys.readouterr().err
    assert cli.localize([*command, "--resume"]) == 0


def test_shards_heatmaps_and_archives_have_what_the_file_has(run, write, tmp_path):
    """A 16-bit GeoTIFF: cut by a worker, from a tar, and drawn whole."""
    values = np.random.default_rng(0).integers(300, 9000, (4, 90, 150), np.uint16)
    path = write("scene.tif", values)
    with tarfile.open(tmp_path / "scenes.tar", "w") as tar:
        tar.add(path, "scene.tif")
    flags = [
        "--weights",
        str(run),
        "--device",
        "cpu",
        "--tile",
        "64",
        "--overlap",
        "16",
        "--bands",
        "4",
        "3",
        "2",
        "--maps",
    ]
    found = {}
    for name, source, more in (
        ("plain", path, ["--heatmaps", "--heatmap-layout", "each"]),
        ("shards", path, ["--engine", "local"]),
        ("tar", tmp_path / "scenes.tar", ["--engine", "local"]),
        ("member", tmp_path / "scenes.tar", []),
    ):
        assert cli.localize([str(source), *flags, *more, "--out", str(tmp_path / name)]) == 0
        (found[name],) = read_localizations(tmp_path / name)
    for one in found.values():
        assert one.size == (150, 90)
        assert one.boxes.labels == found["plain"].boxes.labels
        np.testing.assert_allclose(one.boxes.xyxy, found["plain"].boxes.xyxy)
        assert one.maps.keys() == found["plain"].maps.keys()
        for label, score_map in one.maps.items():
            np.testing.assert_array_equal(score_map, found["plain"].maps[label])
    pictures = list((tmp_path / "plain" / "heatmaps").iterdir())
    assert len(pictures) == len(found["plain"].maps)
    assert {read_image(one).shape for one in pictures} == {(90, 150, 3)}


def test_a_raster_that_cannot_be_read_is_skipped(run, write, tmp_path, caplog):
    good = write("good.tif", np.zeros((3, 40, 40), np.uint8))
    damaged = write("damaged.tif", np.random.default_rng(0).integers(0, 256, (3, 200, 200), np.uint8))
    damaged.write_bytes(damaged.read_bytes()[:50_000])
    (tmp_path / "text.tif").write_text("text")
    command = [str(tmp_path / "*.tif"), "--weights", str(run), "--out", str(tmp_path / "found"), "--tile", "64"]
    assert cli.localize([*command, "--overlap", "0", "--device", "cpu"]) == 0
    assert [found.path for found in read_localizations(tmp_path / "found")] == [good]
    told = caplog.text
    assert "text.tif: not readable as GeoTIFF" in told
    assert "damaged.tif: damaged or truncated" in told


def square(path, tmp_path, name="found"):
    boxes = Boxes(xyxy=[[0, 0, 2, 1]], labels=["dog"], scores=[0.5])
    with LocalizationWriter(tmp_path / name) as writer:
        for one in path:
            writer.write(Localization(path=one, size=(8, 8), scores={"dog": 0.5}, boxes=boxes))
    return tmp_path / name


def export(source, out, **options):
    verb.export(ExportConfig(sources=(source,), format="geojson", out=out, **options))
    return json.loads((out / "boxes.geojson").read_text(encoding="utf-8"))


def test_polygons_in_the_raster_s_own_coordinates(write, tmp_path):
    path = write("a.tif", np.zeros((1, 8, 8), np.uint8), top=900.0)
    document = export(square([path], tmp_path), tmp_path / "out", crs="source")
    assert document["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    (feature,) = document["features"]
    ring = [[500_000, 890], [500_020, 890], [500_020, 900], [500_000, 900], [500_000, 890]]
    assert feature["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    assert feature["properties"] == {"image": "a.tif", "label": "dog", "score": 0.5}


def test_rasters_of_two_systems_share_longitude_and_latitude_only(write, tmp_path):
    one = write("a.tif", np.zeros((1, 8, 8), np.uint8))
    other = write("b.tif", np.zeros((1, 8, 8), np.uint8), crs="EPSG:4326", left=9.0, top=50.0)
    source = square([one, other], tmp_path)
    with pytest.raises(UserError, match=r"b\.tif: its coordinates are EPSG:4326, and .* EPSG:32632; .* --crs wgs84"):
        export(source, tmp_path / "source", crs="source")
    first, second = export(source, tmp_path / "out")["features"]
    np.testing.assert_allclose(first["geometry"]["coordinates"][0][3], [9, 0], atol=1e-9)
    assert second["geometry"]["coordinates"][0][3] == [9, 50]


@pytest.mark.parametrize(
    ("crs", "left"), [('LOCAL_CS["a hall",UNIT["metre",1]]', 0.0), ("+proj=geos +h=35785831 +units=m", 6e6)]
)
def test_boxes_that_lie_nowhere_on_the_earth_are_refused(crs, left, write, tmp_path):
    source = square([write("a.tif", np.zeros((1, 8, 8), np.uint8), crs=crs, left=left)], tmp_path)
    with pytest.raises(UserError, match=r"a\.tif: longitude and latitude are not known .*, or --crs source"):
        export(source, tmp_path / "out")
    assert not (tmp_path / "out" / "boxes.geojson").exists()
    assert len(export(source, tmp_path / "source", crs="source")["features"]) == 1


def test_rows_that_go_north_give_counterclockwise_rings_too():
    for place in (Place((10, 0, 500, 0, -10, 900), ""), Place((10, 0, 500, 0, 10, 900), "")):
        ring = np.array(outline((0, 0, 2, 1), place, "source"))
        (x, y), (u, v) = ring[:-1].T, ring[1:].T
        assert (x * v - u * y).sum() / 2 == pytest.approx(200)


def test_what_cannot_be_placed_or_opened(write, tmp_path):
    path = write("a.tif", np.zeros((1, 8, 8), np.uint8), crs=None)
    with pytest.raises(UserError, match=r"a\.tif: has no coordinate reference system"):
        place_of(path)
    with pytest.raises(BadImageError, match=r"a\.tif: has 1 bands, and band 4 is asked for"), Raster.open(path, (4,)):
        pass
    with pytest.raises(BadImageError, match=r"b\.tif: no such file"):
        place_of(tmp_path / "b.tif")
    with allowing(63), pytest.raises(BadImageError, match=r"a\.tif: 8 x 8 pixels by its header, expected at most 63"):
        place_of(path)
    # GDAL would take it for a list of other files, wherever they lie.
    vrt = '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    vrt += f"<SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    (tmp_path / "v.tif").write_text(vrt, encoding="utf-8")
    with pytest.raises(BadImageError, match="not readable as GeoTIFF"):
        place_of(tmp_path / "v.tif")


def test_a_block_larger_than_the_limit_is_refused(write):
    path = write("a.tif", np.zeros((1, 20, 20), np.uint8), tiled=True, blockxsize=256, blockysize=256)
    with allowing(1000), pytest.raises(BadImageError, match=r"256 x 256 pixels by one of its blocks"):
        place_of(path)


def test_the_extra_is_named_where_it_is_missing(monkeypatch, run, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"needs rasterio, which is not installed: pip install 'wsl-toolkit\[geo\]'"):
        load_rasterio("--tile")
    (tmp_path / "a.tif").write_bytes(b"")
    command = [str(tmp_path / "a.tif"), "--weights", str(run), "--out", str(tmp_path / "out"), "--tile", "64"]
    assert cli.localize([*command, "--overlap", "0"]) == 2
    assert "--tile on a GeoTIFF needs rasterio" in capsys.readouterr().err


def test_bands_are_those_of_geotiffs(run, photos, tmp_path, capsys):
    command = [str(photos), "--weights", str(run), "--out", str(tmp_path / "out"), "--tile", "64", "--overlap", "0"]
    assert cli.localize([*command, "--bands", "1"]) == 2
    assert "--bands are those of GeoTIFFs, expected files that end in .tif or .tiff" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": (1,)}, "expected --tile too"),
        ({"overlap": 3}, "expected --tile too"),
        ({"tile": 16, "overlap": 0}, "expected 32 pixels or more"),
        ({"tile": 64, "overlap": 33}, "expected 0 to half of the tile's 64"),
        ({"tile": 64, "overlap": 0, "bands": (1, 2)}, "expected one or three"),
        ({"tile": 64, "overlap": 0, "bands": (0, 1, 2)}, "counted from 1"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        RasterConfig(**settings)


def test_images_prepared_elsewhere_are_not_cut(tmp_path):
    sharding = ShardConfig(engine="ray", decoders=2)
    with pytest.raises(UserError, match="leave out --decoders"):
        LocalizeConfig(sources=("a",), weights="run", out=tmp_path, raster=RasterConfig(tile=128), sharding=sharding)


def test_coordinates_are_chosen_for_maps_only(tmp_path):
    with pytest.raises(UserError, match="--crs is for geojson, not for coco"):
        ExportConfig(sources=(tmp_path,), format="coco", out=tmp_path, crs="source")
