"""The whole loop with a real Label Studio: predictions in, a correction, and its boxes out (`make label-studio`)."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsl
from wsl.formats.exchange.label_studio import read_label_studio
from wsl.models import save

ROOT = Path(__file__).parents[2]
COMMAND = os.environ.get("WSL_LABEL_STUDIO")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
INTERFACE = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="dog"/>'
    '<Label value="emu"/></RectangleLabels></View>'
)
pytestmark = pytest.mark.skipif(COMMAND is None, reason="make label-studio names the command of a Label Studio")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def running(command, address, log, **options):
    """A server, from its first answer to its end; what it says goes to a file, since a pipe would fill up."""
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, **options) as process:
        try:
            while not answers(address):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                    pytest.fail(log.read_text())
            yield process
        finally:
            process.terminate()


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def backend(photos, tmp_path):
    model = wsl.Localizer("tinynet", classes=["cat", "dog", "emu"], weights="none")
    save(model, tmp_path / "run" / "model.safetensors")
    port = free_port()
    command = [sys.executable, str(ROOT / "tools" / "label_studio.py"), "--weights", str(tmp_path / "run")]
    command += ["--image-root", str(photos.parent), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/health", tmp_path / "backend.log") as process:
        yield url
    assert process.returncode == 143


@pytest.fixture
def studio(photos, tmp_path):
    port = free_port()
    settings = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "studio"),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(photos.parent),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "SSRF_PROTECTION_ENABLED": "false",
        "ML_BLOCK_LOCAL_IP": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "PYTHONUNBUFFERED": "1",
    }
    user = ["--username", "a@example.org", "--password", "for this test", "--user-token", TOKEN]
    command = [COMMAND, "start", "--no-browser", "--port", str(port), *user]
    url = f"http://127.0.0.1:{port}"

    def call(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    with running(command, f"{url}/health", tmp_path / "studio.log", env={**os.environ, **settings}):
        yield call


def test_predictions_are_drawn_ahead_and_corrections_come_back(studio, backend, photos, tmp_path):
    project = studio("projects", {"title": "animals", "label_config": INTERFACE})["id"]
    storage = {"project": project, "path": str(photos), "use_blob_urls": True, "regex_filter": ".*png"}
    storage = studio("storages/localfiles", storage)["id"]
    studio(f"storages/localfiles/{storage}/sync", {})
    studio(f"projects/{project}/import", [{"image": "/data/local-files/?d=photos/gone.png"}])
    studio("ml", {"url": backend, "project": project, "title": "ours"})
    tasks = [task["id"] for task in studio(f"tasks?project={project}&fields=all")["tasks"]]
    chosen = {"selectedItems": {"all": False, "included": tasks}}
    studio(f"dm/actions?id=retrieve_tasks_predictions&project={project}", chosen)
    drawn = [studio(f"tasks/{task}")["predictions"] for task in tasks]
    assert [len(predictions[0]["result"]) > 0 for predictions in drawn] == [True, True, False]
    first = next(task for task in tasks if "0.png" in str(studio(f"tasks/{task}")["data"]))
    corrected = drawn[tasks.index(first)][0]["result"][:1]
    corrected[0]["value"].update({"x": 10, "y": 20, "width": 50, "height": 25})
    studio(f"tasks/{first}/annotations", {"result": corrected})
    exported = studio(f"projects/{project}/export?exportType=JSON")
    (tmp_path / "export.json").write_text(json.dumps(exported), encoding="utf-8")
    image = next(one for one in read_label_studio(tmp_path / "export.json") if one.name == "photos/0.png")
    np.testing.assert_allclose(image.boxes.xyxy, [[9, 12, 54, 27]], atol=1e-3)
