"""The page in a browser, and what happens to uploads."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from wsl.cli import demo

ROOT = Path(__file__).parents[2]

UPLOAD = """
import pathlib, sys, gradio
from wsl.page.controls import Controls
from wsl.page.layout import page
from wsl.page.shelf import Shelf
from PIL import ImageFile
def load(image):
    sys.exit("decoded")
ImageFile.ImageFile.load = load
blocks = page(Controls(Shelf([sys.argv[1]]), pathlib.Path(sys.argv[1]))).blocks.values()
for upload in (one for one in blocks if isinstance(one, gradio.Image) and one.interactive is not False):
    print(upload.preprocess(gradio.data_classes.ImageData(path=sys.argv[2], orig_name="a.png")))
"""


@pytest.mark.long
def test_an_upload_is_decoded_by_nobody_else(runs, tmp_path):
    """In a process of its own: gradio leaves an event loop open."""
    pytest.importorskip("gradio")
    file = tmp_path / "a.png"
    Image.new("L", (40, 30)).save(file)
    command = [sys.executable, "-c", UPLOAD, str(runs), str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, [str(file)]), done.stderr


def test_without_a_run_it_says_how_to_get_one(tmp_path, capsys):
    assert demo([str(tmp_path)]) == 2
    assert "no run below it; wsl-train makes some" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(runs, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo([str(runs), "--port", str(port)]) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


@pytest.fixture(scope="module")
def served(runs, tmp_path_factory):
    """The page as a user starts it, on a free port; at its end nothing is left of what was uploaded."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path_factory.mktemp("uploads")
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    command = [sys.executable, "-u", str(ROOT / "tools" / "demo.py"), str(runs), "--port", str(port)]
    pipe = {"stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, env={**os.environ, **places}, **pipe) as server:
        try:
            lines = iter(server.stderr.readline, "")
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


def test_the_page_in_a_browser(chromium, served, photo, tmp_path):
    """Drop an image and look; nothing is asked of any other machine. Starting gradio and Chromium takes seconds."""
    (address, folder), outside = served, []
    (tmp_path / "text.png").write_text("no picture")
    with chromium.new_page() as tab:
        tab.on("request", lambda request: outside.append(request.url))
        tab.goto(address)
        tab.wait_for_selector("text=the model's own until you move it")
        tab.set_input_files("input[type=file]", str(tmp_path / "text.png"))
        tab.wait_for_selector("text=text.png: not a picture in a known format", timeout=60_000)
        tab.get_by_label("Remove Image").first.click()
        tab.set_input_files("input[type=file]", str(photo))
        tab.wait_for_selector("text=/photo-coco/", timeout=60_000)
        tab.get_by_text("Maps, poolings and boxes").click()
        tab.get_by_label("Another pooling beside it").first.fill("gmp")
        tab.keyboard.press("Enter")
        tab.wait_for_function("document.querySelectorAll('img[src*=\"/file=\"]').length >= 2", timeout=60_000)
        assert [path.name for path in folder.rglob(photo.name)]
        tab.get_by_label("Remove Image").first.click()
        while list(folder.rglob(photo.name)):  # an upload is not kept beyond its use
            tab.wait_for_timeout(20)
    assert [url for url in outside if not url.startswith((address, "data:", "blob:"))] == []
