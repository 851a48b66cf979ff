"""Models on the Hugging Face hub: uploaded to a server of our own on loopback, loaded from it and from the cache."""

import base64
import hashlib
import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import wsl
from wsl import cli
from wsl.checkpoints import check_weights
from wsl.errors import DownloadError, RunError, UserError
from wsl.hub import fetch_run, hub_address
from wsl.models import Localizer, open_model

constants = pytest.importorskip("huggingface_hub.constants")
NAME = "someone/birds"


class Hub(ThreadingHTTPServer):
    """The part of the hub that uploads and downloads ask for: repositories of commits, of files by name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.created: list[dict] = []
        self.asked: list[str] = []

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((branch, sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


class Request(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Say nothing."""

    def answer(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value, code: int = 200, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), code, Content_Type="application/json", **headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer_json({"url": f"{self.server.address}/{NAME}", "name": NAME, "id": NAME})
        elif "/branch/" in path:
            self.answer_json({})
        elif path == "/api/validate-yaml":  # of the card
            self.answer_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer_json({"files": [{"path": one["path"], **kind} for one in json.loads(body)["files"]]})
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.decode().splitlines()]
            files = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            sha = self.server.commit(path.rpartition("/commit/")[2], files)
            self.answer_json(
                {"success": True, "commitOid": sha, "commitUrl": f"{self.server.address}/{NAME}/commit/{sha}"}
            )
        else:
            self.answer_json({"error": path}, 404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if not (path.startswith(f"/api/models/{NAME}") or path.startswith(f"/{NAME}/")):
            self.answer_json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return
        revision = path.split("/revision/" if "/revision/" in path else "/tree/" if "/tree/" in path else "/resolve/")
        name, _, file = (revision[1] if len(revision) > 1 else "main").partition("/")
        sha = self.server.branches.get(name, name)
        files = self.server.commits.get(sha)
        if files is None:
            self.answer_json({"error": f"Invalid rev id: {name}"}, 404, X_Error_Code="RevisionNotFound")
        elif "/resolve/" in path:
            body = files[file]
            self.answer(body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=sha)
        elif "/tree/" in path:
            self.answer_json(
                [
                    {"type": "file", "path": one, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for one, body in files.items()
                ]
            )
        else:
            siblings = [{"rfilename": one} for one in files]
            self.answer_json({"id": NAME, "sha": sha, "siblings": siblings, "tags": [], "private": False})

    do_HEAD = do_GET


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Hub()
    address = server.address
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    fetch_run.cache_clear()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    fetch_run.cache_clear()


def model(seed: int = 0) -> Localizer:
    torch.manual_seed(seed)
    return Localizer("tinynet", classes=["heron", "newt"], pooling="lse(beta=2)", weights="none").eval()


def same(a: Localizer, b: Localizer) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_that_is_uploaded_comes_back(server):
    sent = model()
    address = sent.push_to_hub(NAME, private=True, token="none")
    assert address == f"hf://{NAME}"
    created = server.created[0]  # the client's versions spell it in two ways
    assert created.get("private") or created.get("visibility") == "private"
    (files,) = server.commits.values()
    assert set(files) == {"model.safetensors", "README.md"}
    assert b"library_name: wsl-toolkit" in files["README.md"]
    assert b"heron, newt" in files["README.md"]
    got = wsl.load(address)
    assert same(got, sent)
    assert got.classes == ("heron", "newt")
    assert check_weights(address).pooling == "lse(beta=2)"
    assert same(open_model(address), sent)
    assert not any(path.endswith("README.md") for path in server.asked)


def test_a_revision_is_pinned_and_the_newest_is_another(server):
    old, new = model(0), model(1)
    old.push_to_hub(NAME, token="none")
    pinned = server.branches["main"]
    new.push_to_hub(NAME, token="none")
    assert same(wsl.load(f"hf://{NAME}@{pinned}"), old)
    assert same(wsl.load(f"hf://{NAME}"), new)
    assert old.push_to_hub(NAME, revision="v1", token="none") == f"hf://{NAME}@v1"
    assert same(wsl.load(f"hf://{NAME}@v1"), old)
    with pytest.raises(DownloadError, match=r"someone/birds@lost could not be downloaded"):
        wsl.load(f"hf://{NAME}@lost")


def test_without_the_hub_the_cache_is_read(server, monkeypatch):
    sent = model()
    address = sent.push_to_hub(NAME, token="none")
    wsl.load(address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch_run.cache_clear()
    asked = len(server.asked)
    assert same(wsl.load(address), sent)
    assert len(server.asked) == asked
    with pytest.raises(DownloadError, match="hf://someone/newts could not be downloaded"):
        wsl.load("hf://someone/newts")


def test_nothing_is_printed_without_a_terminal(server, capfd):
    wsl.load(model().push_to_hub(NAME, token="none"))
    assert capfd.readouterr() == ("", "")


def test_the_commands_take_the_address(server, tmp_path, capsys):
    from PIL import Image

    address = model().push_to_hub(NAME, token="none")
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "a.png")
    out = tmp_path / "found"
    assert cli.localize([str(tmp_path / "a.png"), "--weights", address, "--out", str(out), "--workers", "0"]) == 0
    assert json.loads((out / "localize.json").read_text(encoding="utf-8"))["weights"] == address
    assert cli.localize([str(tmp_path / "a.png"), "--weights", "hf://birds", "--out", str(out), "--overwrite"]) == 2
    assert "expected hf://user/model" in capsys.readouterr().err


def test_nothing_but_tensors_and_json_is_fetched_or_read(server):
    server.commit("main", {"model.safetensors": pickle.dumps({"a": 1}), "pytorch_model.bin": b"x", "code.py": b"x"})
    with pytest.raises(UserError, match="not a whole safetensors file"):
        wsl.load(f"hf://{NAME}")
    assert not any(path.endswith(("bin", "py")) for path in server.asked)
    server.commit("main", {"config.json": b"{}"})
    fetch_run.cache_clear()
    with pytest.raises(UserError, match="classifiers of transformers are named hf/user/model"):
        wsl.load(f"hf://{NAME}")


def test_an_upload_that_is_refused_is_a_failed_run(server, monkeypatch):
    monkeypatch.setattr(Request, "do_POST", lambda request: request.answer_json({"error": "not allowed"}, 403))
    with pytest.raises(RunError, match=r"hf://someone/birds could not be uploaded .*: log in with"):
        model().push_to_hub(NAME, token="none")


@pytest.mark.parametrize(
    "address", ["hf://birds", "hf://a/b/c", "hf://a/..", "hf://a/b@../c", "hf://a/b@", "hf:///a/b"]
)
def test_addresses_that_name_no_repository(address):
    with pytest.raises(UserError, match="names no repository of the hub"):
        hub_address(address)


def test_a_revision_is_not_a_part_of_the_name_to_upload_to():
    with pytest.raises(UserError, match="expected user/model, and revision="):
        model().push_to_hub("someone/birds@v1")


def test_a_model_is_saved_to_a_file_or_a_folder(tmp_path):
    sent = model()
    assert sent.save(tmp_path / "run") == tmp_path / "run" / "model.safetensors"
    assert sent.save(str(tmp_path / "new" / "birds.safetensors")).is_file()
    assert same(wsl.load(tmp_path / "run"), sent)
    assert same(wsl.load(tmp_path / "new" / "birds.safetensors"), sent)
