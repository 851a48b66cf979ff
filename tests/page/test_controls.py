"""The page without its looks: what is offered, what comes out, and which files are touched."""

import json
import threading
import zipfile
from dataclasses import replace

import pytest
from PIL import Image

from wsl.checkpoints import model_digest
from wsl.errors import UserError
from wsl.images import read_image
from wsl.models import save
from wsl.page import controls as module
from wsl.page.controls import Controls, Settings
from wsl.page.shelf import PRETRAINED, Shelf
from wsl.thresholds.stored import SelectedBoxes, save_selected


@pytest.fixture
def controls(runs, tmp_path):
    return Controls(Shelf([str(runs)]), tmp_path)


@pytest.fixture
def settings(runs):
    return Settings(model=(runs / "first").as_posix(), threshold=0.3)


def test_what_is_taken_along_is_below_the_page_s_folder(controls, settings, photo):
    first, second, files = controls.localize(str(photo), settings, beside="gmp")
    assert second.label == first.label
    assert set(first.known) == {"cat", "dog", "emu"}
    assert [path.suffix for path in files] == [".json", ".xml", ".txt", ".png"]
    assert all(path.resolve().is_relative_to(controls.folder.resolve()) for path in files)
    box = json.loads(files[0].read_text(encoding="utf-8"))["annotations"][0]["bbox"]
    x0, y0, x1, y1 = first.boxes.xyxy[0].tolist()
    assert box == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-3)


def test_a_slider_asks_the_network_nothing(controls, settings, photo, monkeypatch):
    controls.localize(str(photo), settings)
    monkeypatch.setattr(module, "look", lambda *_, **__: pytest.fail("the network is asked again"))
    low, _, _ = controls.localize(str(photo), replace(settings, threshold=0.1, opacity=0.9, rule="all"))
    high, _, _ = controls.localize(str(photo), replace(settings, threshold=0.9))
    assert low.boxes.area.max() > high.boxes.area.max()
    assert (low.threshold, high.threshold) == (0.1, 0.9)


def test_the_threshold_is_known_before_the_first_image(small_model, tmp_path):
    folder = tmp_path / "run"
    save(small_model, folder / "model.safetensors")
    shelf = Shelf([str(folder), "resnet18"])
    settings = Settings(model=shelf.names[0])
    assert Controls(shelf, tmp_path).own_threshold(settings) == 0.2
    assert Controls(shelf, tmp_path).own_threshold(replace(settings, refine="pamr")) == 0.35
    selected = {
        "threshold": 0.45,
        "box_rule": "all",
        "data": "d",
        "split": "val",
        "iou": 0.5,
        "accuracy": 1,
        "pairs": 1,
    }
    save_selected(SelectedBoxes(**selected, model=model_digest(folder)), folder)
    assert Controls(shelf, tmp_path).own_threshold(settings) == 0.45
    assert Controls(shelf, tmp_path).own_threshold(replace(settings, model="resnet18")) is None


def test_many_images_come_as_pictures_and_one_archive(controls, settings, photo, tmp_path):
    twin, text = tmp_path / "twin" / photo.name, tmp_path / "text.jpg"
    twin.parent.mkdir()
    twin.write_bytes(photo.read_bytes())
    text.write_text("no picture", encoding="utf-8")
    shown = controls.localize_many([str(photo), str(text), str(twin)], settings)
    assert len(shown.pictures) == 2
    assert [line.split(": ")[0] for line in shown.skipped] == ["text.jpg"]
    with zipfile.ZipFile(shown.archive) as archive:
        names = set(archive.namelist())
        coco = json.loads(archive.read("coco/annotations/instances_all.json"))
    stems = [image["file_name"].removesuffix(".png") for image in coco["images"]]
    assert len(set(stems)) == 2
    for stem in stems:
        assert {f"voc/Annotations/{stem}.xml", f"yolo/labels/{stem}.txt", f"overlays/{stem}.png"} <= names


@pytest.mark.parametrize("count", [0, module.MANY + 1])
def test_no_image_and_too_many_are_told(controls, settings, photo, count):
    with pytest.raises(UserError, match=f"{count} images, expected 1 to {module.MANY}"):
        controls.localize_many([str(photo)] * count, settings)


def test_downloads_of_long_ago_are_removed(runs, tmp_path, settings, photo, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    controls = Controls(Shelf([str(runs)]), tmp_path)
    files = [controls.localize(str(photo), settings)[2] for _ in range(3)]
    assert [all(path.is_file() for path in one) for one in files] == [False, True, True]
    assert len([path for path in controls.folder.iterdir() if path.is_dir()]) == 2


def test_only_uploads_are_removed_and_once_another_is_there(controls, photo):
    upload = controls.folder / "upload.png"
    upload.touch()
    assert controls.remove_upload(None, str(upload)) == controls.remove_upload(str(upload), str(upload)) == str(upload)
    assert upload.is_file()
    assert controls.remove_upload(str(upload), None) is None
    assert not upload.exists()
    inner = Controls(controls.shelf, controls.folder / "inner")
    inner.remove_upload(str(photo), None)
    assert photo.is_file(), "it lies outside the page's folder"


def test_a_page_that_closes_waits_for_the_request_under_way(controls):
    order: list[str] = []

    def close() -> None:
        controls.close()
        order.append("closed")

    closing = threading.Thread(target=close)
    with controls.request():
        closing.start()
        closing.join(0.05)
        order.append("answered")
    closing.join()
    assert order == ["answered", "closed"]
    with pytest.raises(UserError, match="the page is closed"), controls.request():
        pass


@pytest.mark.parametrize("name", ["/etc", "../first", "tinynet", "timm/hf-hub:some/net", "hf/some/net", ""])
def test_whoever_uses_the_page_opens_no_other_file(name, controls, settings, photo):
    with pytest.raises(UserError, match="no model"):
        controls.localize(str(photo), replace(settings, model=name))


def test_a_misspelt_classifier_is_told(controls, settings, photo):
    with pytest.raises(UserError, match="no model 'resnet8': did you mean 'resnet18'"):
        controls.localize(str(photo), replace(settings, model="resnet8"))


def test_no_image_a_broken_one_and_a_bomb_are_refused(controls, settings, tmp_path):
    with pytest.raises(UserError, match="no image yet"):
        controls.localize(None, settings)
    (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
    with pytest.raises(UserError, match=r"^text\.jpg: not a picture"):
        controls.localize(str(tmp_path / "text.jpg"), settings)
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"^bomb\.png: 9000 x 9000 pixels by its header"):
        controls.localize(str(tmp_path / "bomb.png"), settings)


def test_what_is_offered(runs, tmp_path):
    assert Shelf().names == PRETRAINED
    assert Shelf([str(runs), "resnet18"]).names == ((runs / "first").as_posix(), "resnet18")
    with pytest.raises(UserError, match="no run below it; wsl-train makes some"):
        Shelf([str(tmp_path)])
    with pytest.raises(UserError, match="no model 'resnet8': did you mean"):
        Shelf(["resnet8"])
    with pytest.raises(UserError, match="the weights of one classifier"):
        Shelf([str(runs)], tmp_path / "some.pth")


def test_samples_can_be_read():
    from wsl.page.samples import sample_photographs

    assert all(read_image(file).shape[2] == 3 and credit for file, credit in sample_photographs().items())
