"""The web page: what it computes without a server, and once in a browser."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import app
import numpy as np
import page
import pytest
from PIL import Image

import wsl
from wsl.errors import UserError
from wsl.images import read_image
from wsl.models import CamLocalizer, save


@pytest.fixture(scope="module")
def model():
    return wsl.Localizer("tinynet", classes=["cat", "dog", "emu"], pooling="gap", weights="none").eval()


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save(model, folder / "first" / "model.safetensors")
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def controls(runs, tmp_path):
    return app.Page(app.find_runs([runs]), tmp_path)


def test_it_says_what_localize_says(model, photo):
    found = next(wsl.localize(model, photo, threshold=0.4, device="cpu"))
    shown = page.predict(read_image(photo), model, threshold=0.4)
    assert shown.label == next(iter(found.scores))
    np.testing.assert_allclose(shown.boxes.xyxy, found.boxes.xyxy, atol=1)  # bf16 there, where the processor has it
    assert [name for name, _ in shown.top] == list(found.scores)


def test_another_pooling_pools_the_same_maps(model, photo):
    image = read_image(photo)
    own, again, top = (page.predict(image, model, pooling=spec, label="dog") for spec in ("", "gap", "gmp"))
    assert dict(own.top) == dict(again.top)
    assert dict(top.top)["dog"] > dict(own.top)["dog"]
    assert own.boxes.xyxy.tolist() == top.boxes.xyxy.tolist()


def test_a_cam_method_takes_the_place_of_the_models_own_maps(model, photo):
    image = read_image(photo)
    own, *others = (page.predict(image, model, label="cat", method=method) for method in page.METHODS)
    for other in others:
        assert dict(other.top) == pytest.approx(dict(own.top), abs=1e-5)
    settings = {"classes": ["cat"], "threshold": 0.2, "refine": "none", "device": "cpu", "precision": "fp32"}
    expected = wsl.Predictor(CamLocalizer.of(model, method="gradcam"), **settings)(image)
    np.testing.assert_array_equal(others[0].boxes.xyxy, expected.boxes.xyxy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "gnu"}, "knows no class 'gnu'"),
        ({"pooling": "gapp"}, "did you mean 'gap'"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"threshold": 2}, "threshold is 2"),
    ],
)
def test_a_mistake_is_told(settings, message, model, photo):
    with pytest.raises(UserError, match=message):
        page.predict(read_image(photo), model, **settings)


def test_what_is_taken_along_is_below_the_page_s_folder(controls, photo, runs):
    settings = (str(runs / "first"), app.OWN, "gmp", "", "the model's own", 0.3, 0.5)
    first, second, files, known = controls.localize(str(photo), *settings)
    assert second.label == first.label
    assert set(known) == {"cat", "dog", "emu"}
    assert [path.suffix for path in files] == [".json", ".xml", ".txt", ".png"]
    assert all(path.resolve().is_relative_to(controls.folder.resolve()) for path in files)
    box = json.loads(files[0].read_text(encoding="utf-8"))["annotations"][0]["bbox"]
    x0, y0, x1, y1 = first.boxes.xyxy[0].tolist()
    assert box == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-3)


def test_downloads_of_long_ago_are_removed(controls, photo, runs, monkeypatch):
    monkeypatch.setattr(app, "KEPT", 2)
    settings = (str(runs / "first"), app.OWN, app.NOTHING, "", "the model's own", 0.3, 0.5)
    files = [controls.localize(str(photo), *settings)[2] for _ in range(3)]
    assert [all(path.is_file() for path in one) for one in files] == [False, True, True]
    assert len([path for path in controls.folder.iterdir() if path.is_dir()]) == 2


def test_only_uploads_are_removed_and_once_another_is_there(controls, photo):
    upload = controls.folder / "upload.png"
    upload.touch()
    assert controls.remove_upload(None, str(upload)) == controls.remove_upload(str(upload), str(upload)) == str(upload)
    assert upload.is_file()
    assert controls.remove_upload(str(upload), None) is None
    assert not upload.exists()
    inner = app.Page(controls.models, controls.folder / "inner")
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


def test_a_pooling_beyond_memory_is_told(model, photo):
    with pytest.raises(UserError, match=r"the pooling attention\(.* takes .* GB, expected 4.29 at most"):
        page.predict(read_image(photo), model, pooling="attention(hidden=1000000000000, channels=3)")


@pytest.mark.parametrize("name", ["/etc", "../first", "resnet50"])
def test_only_listed_models_are_opened(name, controls, photo):
    with pytest.raises(UserError, match="expected one of the list"):
        controls.localize(str(photo), name, app.OWN, app.NOTHING, "", "the model's own", 0.3, 0.5)


def test_no_image_a_broken_one_and_a_bomb_are_refused(controls, tmp_path, monkeypatch):
    settings = (controls.models[0], app.OWN, app.NOTHING, "", "the model's own", 0.3, 0.5)
    with pytest.raises(UserError, match="no image yet"):
        controls.localize(None, *settings)
    (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
    with pytest.raises(UserError, match=r"text\.jpg: not a picture"):
        controls.localize(str(tmp_path / "text.jpg"), *settings)
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="9000 x 9000 pixels by its header"):
        controls.localize(str(tmp_path / "bomb.png"), *settings)


UPLOAD = """
import pathlib, sys, gradio, app
from PIL import ImageFile
def load(image):
    sys.exit("decoded")
ImageFile.ImageFile.load = load
runs = pathlib.Path(sys.argv[1])
blocks = app.Page(app.find_runs([runs]), runs).blocks().blocks.values()
for upload in (one for one in blocks if isinstance(one, gradio.Image) and one.interactive is not False):
    print(upload.preprocess(gradio.data_classes.ImageData(path=sys.argv[2], orig_name="a.png")))
"""


def test_an_upload_is_decoded_by_nobody_else(runs, tmp_path):
    """In a process of its own: gradio leaves an event loop open."""
    pytest.importorskip("gradio")
    file = tmp_path / "a.png"
    Image.new("L", (40, 30)).save(file)
    folder = Path(app.__file__).parent
    command = [sys.executable, "-c", UPLOAD, str(runs), str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, [str(file)]), done.stderr


def test_without_a_run_it_says_how_to_get_one(tmp_path, capsys):
    assert app.main(["--runs", str(tmp_path)]) == 2
    assert "make demo" in capsys.readouterr().err


@pytest.fixture(scope="module")
def served(runs, tmp_path_factory):
    """The page as a user starts it, on a free port; at its end nothing is left of what was uploaded."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path_factory.mktemp("uploads")
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    command = [sys.executable, "-u", app.__file__, "--runs", str(runs), "--port", str(port)]
    pipe = {"stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, env={**os.environ, **places}, **pipe) as server:
        try:
            lines = iter(server.stdout.readline, "")
            assert any(f"http://127.0.0.1:{port}" in line for line in lines)
            (folder,) = temporary.glob("wsl-page-*")
            yield f"http://127.0.0.1:{port}", folder
        finally:
            server.terminate()
    if sys.platform != "win32":  # which knows no signal to be told by
        assert (server.returncode, list(temporary.glob("wsl-page-*"))) == (143, [])


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("localhost:7860", 200), ("example.org", 400)])
def test_it_answers_to_no_other_name(served, host, status):
    connection = http.client.HTTPConnection(served[0].removeprefix("http://"), timeout=60)
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_the_page_in_a_browser(chromium, served, photo):
    """Drop an image and look; nothing is asked of any other machine. Starting gradio and Chromium takes seconds."""
    (address, folder), outside = served, []
    with chromium.new_page() as tab:
        tab.on("request", lambda request: outside.append(request.url))
        tab.goto(address)
        tab.set_input_files("input[type=file]", str(photo))
        tab.wait_for_selector("text=/photo-coco/", timeout=60_000)
        tab.get_by_label("Beside it").first.fill("gmp")
        tab.keyboard.press("Enter")
        tab.wait_for_function("document.querySelectorAll('img[src*=\"/file=\"]').length >= 2", timeout=60_000)
        assert [path.name for path in folder.rglob(photo.name)]
        tab.get_by_label("Remove Image").first.click()
        while list(folder.rglob(photo.name)):  # an upload is not kept beyond its use
            tab.wait_for_timeout(20)
    assert [url for url in outside if not url.startswith((address, "data:", "blob:"))] == []
