"""From a run and a folder of images to boxes, in order, without surprises."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import wsl
from wsl.config import BoxConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.errors import BadImageError, RunError, UserError
from wsl.formats import read_localizations
from wsl.inference import Predictor
from wsl.verbs.localize import plan_localize, run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32")


def localize(run, out, *sources, **options):
    options = {"runtime": CPU, **options}
    return run_localize(LocalizeConfig(sources=[str(s) for s in sources], weights=str(run), out=out, **options))


def test_the_whole_folder_in_order(run, photos, tmp_path):
    result = localize(run, tmp_path, photos, maps=True, heatmaps=True, pick=PickConfig(top_k=2))
    found = list(read_localizations(tmp_path))
    assert (result.images, result.skipped) == (64, 0)
    assert [f.path for f in found] == sorted(photos.iterdir())
    for one in found:
        height, width = cv2.imread(str(one.path)).shape[:2]
        assert one.size == (width, height)
        assert set(one.maps) == set(one.points) == {"blue", "red"}
        assert (one.boxes.xyxy >= 0).all()
        assert (one.boxes.xyxy[:, 2:] <= np.array(one.size)).all()
    heat = cv2.imread(str(tmp_path / "heatmaps" / "val00.png"))
    assert heat.shape[1] > 2 * 320
    assert len(list((tmp_path / "heatmaps").iterdir())) == 64
    assert json.loads((tmp_path / "localize.json").read_text())["weights"] == str(run)


def test_things_are_found_where_they_are(run, world, photos, tmp_path):
    localize(run, tmp_path, photos / "val*.png", pick=PickConfig(top_k=None, score_threshold=0.5))
    truth = {sample.id: sample for sample in wsl.data.read_voc(world, "val").samples}
    hits = []
    for found in read_localizations(tmp_path):
        for label in truth[found.id].labels:
            x, y = found.points.get(label, (-99, -99))
            x0, y0, x1, y1 = truth[found.id].boxes.of(label).xyxy[0]
            hits.append(x0 - 4 <= x <= x1 + 4 and y0 - 4 <= y <= y1 + 4)
    assert np.mean(hits) > 0.9


def test_heatmaps_of_each_class_have_the_size_of_the_image(run, photos, tmp_path):
    options = {"heatmaps": True, "heatmap_layout": "each", "pick": PickConfig(top_k=2)}
    localize(run, tmp_path, photos / "val0[01].png", **options)
    names = sorted(path.name for path in (tmp_path / "heatmaps").iterdir())
    assert names == ["val00-blue.png", "val00-red.png", "val01-blue.png", "val01-red.png"]
    assert cv2.imread(str(tmp_path / "heatmaps" / "val00-blue.png")).shape[:2] == (64, 80)
    with pytest.raises(UserError, match="--heatmap-layout without --heatmaps"):
        localize(run, tmp_path / "out", photos, heatmap_layout="each")


@pytest.fixture(scope="module")
def plain(run, photos, tmp_path_factory):
    """Validation images, localized as they usually are."""
    out = tmp_path_factory.mktemp("plain")
    localize(run, out, photos / "val*.png")
    return out


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.quick("workers, batch_size", [(0, 1), (1, 7), (3, 1), (3, 64)])
def test_workers_and_batches_change_nothing(run, photos, tmp_path, plain, workers, batch_size):
    """Only rounding: a batch of another size may be summed in another order."""
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=workers)
    localize(run, tmp_path, photos / "val*.png", batch_size=batch_size, runtime=runtime)
    for one, other in zip(read_localizations(tmp_path), read_localizations(plain), strict=True):
        assert one.path == other.path
        assert list(one.scores) == list(other.scores)
        np.testing.assert_allclose(list(one.scores.values()), list(other.scores.values()), atol=1e-5)
        np.testing.assert_allclose(one.boxes.xyxy, other.boxes.xyxy, atol=1.0)


def test_what_is_picked(run, photos, tmp_path):
    localize(run, tmp_path / "all", photos / "val0*.png", pick=PickConfig(top_k=None))
    localize(run, tmp_path / "sure", photos / "val0*.png", pick=PickConfig(top_k=None, score_threshold=0.9))
    localize(run, tmp_path / "named", photos / "val0*.png", pick=PickConfig(classes=("red",)))
    for everything, sure, named in zip(
        *(read_localizations(tmp_path / name) for name in ("all", "sure", "named")), strict=True
    ):
        assert set(everything.points) == {"blue", "red"}
        assert set(sure.points) == {name for name, score in everything.scores.items() if score >= 0.9}
        assert set(named.points) == {"red"}
        assert list(everything.scores.values()) == sorted(everything.scores.values(), reverse=True)


def test_bad_images_are_reported_counted_and_left_out(run, photos, tmp_path, caplog):
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(photos / "val00.png", folder / "a.png")
    (folder / "b.jpg").write_text("this is text")
    (folder / "c.jpg").touch()
    cv2.imwrite(str(folder / "whole.jpg"), np.random.default_rng(0).integers(0, 255, (90, 90, 3)))
    (folder / "d.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "whole.jpg").unlink()
    cv2.imwrite(str(folder / "e.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(folder / "f.png"), np.zeros((50, 20_000, 3), np.uint8))
    result = localize(run, tmp_path / "out", folder)
    assert (result.images, result.skipped) == (3, 3)
    assert [f.id for f in read_localizations(tmp_path / "out")] == ["a", "e", "f"]
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        assert sum(name in line for line in caplog.messages) == 1
    with pytest.raises(BadImageError, match=r"b\.jpg"):
        localize(run, tmp_path / "strict", folder, runtime=RuntimeConfig(device="cpu", strict=True))
    assert not (tmp_path / "strict" / "localizations.jsonl").exists()


def test_nothing_readable_is_a_failed_run(run, tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(RunError, match="none of the 1 images"):
        localize(run, tmp_path / "out", tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pick": PickConfig(classes=("green",))}, "no class 'green'; it knows blue, red"),
        ({"runtime": RuntimeConfig(device="cuda:99")}, "cuda:99"),
        ({"runtime": RuntimeConfig(device="toaster")}, "toaster"),
    ],
)
def test_settings_that_cannot_be(run, photos, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        localize(run, tmp_path, photos, **options)


def test_sources_and_places_that_cannot_be(run, photos, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        localize(run, tmp_path, "nowhere/*.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        localize(run, tmp_path / "file", photos)
    with pytest.raises(UserError, match="no model"):
        localize("no-model", tmp_path, photos)


def test_box_rules_reach_the_boxes(run, photos, tmp_path):
    pick = PickConfig(classes=("red", "blue"))
    for rule in ("largest", "peak", "all"):
        boxes = BoxConfig(box_rule=rule, threshold=0.3)
        localize(run, tmp_path / rule, photos / "val*.png", boxes=boxes, pick=pick)
    counts = {rule: [len(f.boxes) for f in read_localizations(tmp_path / rule)] for rule in ("largest", "peak", "all")}
    assert set(counts["largest"]) == set(counts["peak"]) == {2}
    assert min(counts["all"]) >= 2
    for found in read_localizations(tmp_path / "peak"):
        for label, (x, y) in found.points.items():
            x0, y0, x1, y1 = found.boxes.of(label).xyxy[0]
            assert x0 - 1 <= x <= x1 + 1
            assert y0 - 1 <= y <= y1 + 1


def test_the_python_iterator_is_lazy_and_the_same(run, photos, tmp_path):
    model = wsl.load(run)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    iterator = wsl.localize(model, photos, top_k=2, device="cpu")
    first = next(iterator)
    iterator.close()
    assert first.path == sorted(photos.iterdir())[0]
    assert first.boxes.labels == tuple(first.maps)
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in before.items())


def test_a_strict_error_comes_through_the_iterator(run, tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(BadImageError):
        list(wsl.localize(wsl.load(run), tmp_path / "a.jpg", strict=True))


def test_letterboxed_maps_cover_exactly_the_image(world):
    """A thing in the corner of a wide image is found in that corner, whatever was padded."""
    model = wsl.Localizer(
        "tinynet",
        classes=["x"],
        weights="none",
        preprocessing=wsl.config.Preprocessing(image_size=64, resize="letterbox"),
    )
    image = world / "wide.png"
    cv2.imwrite(str(image), np.zeros((40, 160, 3), np.uint8))
    (found,) = Predictor(model, device="cpu", precision="fp32").stream([image])
    assert found.maps["x"].shape == (2, 8)
    image.unlink()


def test_paths_with_blanks_and_letters_of_others(run, photos, tmp_path):
    folder = tmp_path / "mañana foto 猫"
    folder.mkdir()
    shutil.copy(photos / "val00.png", folder / "it's [1].png")
    localize(run, tmp_path / "out ü", folder, maps=True)
    (found,) = read_localizations(tmp_path / "out ü")
    assert found.path == folder / "it's [1].png"
    assert found.maps


def test_a_second_run_replaces_the_first_when_it_is_told_to(run, photos, tmp_path):
    localize(run, tmp_path, photos / "val0*.png")
    before = (tmp_path / "localizations.jsonl").read_bytes()
    for function in (run_localize, plan_localize):
        with pytest.raises(UserError, match=r"jsonl exists: --resume continues .*, --overwrite replaces it"):
            function(LocalizeConfig(sources=[str(photos / "val00.png")], weights=str(run), out=tmp_path))
    assert (tmp_path / "localizations.jsonl").read_bytes() == before
    localize(run, tmp_path, photos / "val00.png", overwrite=True)
    assert [f.id for f in read_localizations(tmp_path)] == ["val00"]
    assert not list(tmp_path.glob("*.partial"))


def test_results_are_relative_to_nothing_but_the_folder(run, photos, tmp_path):
    localize(run, tmp_path / "one", photos / "val00.png", maps=True)
    (tmp_path / "one").rename(tmp_path / "two")
    (found,) = read_localizations(tmp_path / "two")
    assert found.maps
    assert Path(found.path).is_file()


def test_the_caller_keeps_its_threads(run, photos):
    """Each core runs batches of its own meanwhile; afterwards all is as it was, for new threads too."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(wsl.localize(wsl.load(run), photos / "val0*.png", device="cpu"))
        with ThreadPoolExecutor(1) as other:
            assert (torch.get_num_threads(), other.submit(torch.get_num_threads).result()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_of_a_thousand_classes_the_best_hundred_are_kept(photos):
    model = wsl.Localizer("tinynet", 1000, weights="none")
    found = Predictor(model, device="cpu", precision="fp32")(photos / "val00.png")
    scores = list(found.scores.values())
    assert len(scores) == 100
    assert scores == sorted(scores, reverse=True)
    assert {next(iter(found.scores))} == set(found.points)
    everything = Predictor(model, device="cpu", max_scores=None)(photos / "val00.png")
    assert len(everything.scores) == 1000
