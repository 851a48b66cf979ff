"""Weights by name: one door from the download to the tensors, and nothing in the cache is believed or unpickled."""

import hashlib
import os
import re
from pathlib import Path

import pytest
import torch
from torchvision import models as torchvision_models

from wsl.config import ModelConfig, Preprocessing
from wsl.errors import UserError
from wsl.models import create_backbone, create_classifier
from wsl.models.checkpoint import create, load, pack, save, unpack
from wsl.models.localizer import Localizer
from wsl.models.weights import fetch, read_state_dict, tensors_only

# Of torchvision's families those whose builders do more than load: old names of parameters, auxiliary classifiers,
# options that belong to the weights, batch norms from before they counted.
PARTICULAR = ["densenet121", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "squeezenet1_1"]


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub, without a way out."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_: pytest.fail("the network was asked"))
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def cached(cache, what, stem="net"):
    """A file as it lies there after a download, with its hash in its name; gives the address that it came from."""
    torch.save(what, cache / "new")
    digest = hashlib.sha256((cache / "new").read_bytes()).hexdigest()[:8]
    (cache / "new").replace(cache / f"{stem}-{digest}.pth")
    return f"https://nowhere.invalid/models/{stem}-{digest}.pth"


def entry_of(name, monkeypatch, url):
    entry = torchvision_models.get_model_weights(name)["DEFAULT"]
    monkeypatch.setattr(entry.value, "url", url)
    return entry


def torchvisions_file(name):
    """What torchvision's own file holds, as far as its builder has to know of it."""
    options = {"init_weights": False, "aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    state = torchvision_models.get_model_builder(name)(weights=None, **options).state_dict()
    if name == "densenet121":
        state = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): tensor
            for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")
        }
    return state


@pytest.mark.parametrize("name", PARTICULAR)
@pytest.mark.quick("name", ["densenet121", "squeezenet1_1"])
def test_a_named_classifier_is_what_the_builder_gives(name, cache, monkeypatch):
    entry = torchvision_models.get_model_weights(name)["DEFAULT"]
    entry_of(name, monkeypatch, cached(cache, torchvisions_file(name)))
    expected = torchvision_models.get_model_builder(name)(weights=entry)
    found = create_classifier(name)
    assert str(found.net) == str(expected)
    assert getattr(found.net, "transform_input", None) == getattr(expected, "transform_input", None)
    state, wanted = found.net.state_dict(), expected.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    assert found.classes == tuple(entry.meta["categories"])
    assert entry.get_state_dict.__func__ is type(entry).get_state_dict  # torchvision's own entry is as it was


def test_a_named_file_is_downloaded_once_into_the_hubs_cache(cache, monkeypatch):
    url = cached(cache, {"a": torch.ones(1)})
    file = cache / url.rsplit("/", 1)[1]
    data = file.read_bytes()
    file.unlink()
    asked = []

    def download(url, to, hash_prefix):
        asked.append((url, hash_prefix))
        Path(to).write_bytes(data)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert fetch(url, "net") == fetch(url, "net") == file
    assert asked == [(url, file.stem[-8:])]


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("invalid hash value")])
def test_a_download_that_fails_is_one_line(error, cache, monkeypatch):
    def download(*_):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    told = rf"^resnet18's weights IMAGENET1K_V1 .* could not .*\({error}\): .* add --local-weights resnet18-\w+\.pth "
    with pytest.raises(UserError, match=told):
        create_classifier("resnet18")


def test_a_cached_file_that_is_not_what_its_name_says_is_refused(cache, tmp_path):
    name = torchvision_models.SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save({"a": Evil(tmp_path / "ran")}, cache / name)
    with pytest.raises(UserError, match=rf"{name} is not what its name says .*expected b8a52dc0.*: remove it"):
        create_classifier("squeezenet1_1")
    assert not (tmp_path / "ran").exists()


def test_a_cached_file_of_the_right_hash_is_not_unpickled_either(cache, tmp_path, monkeypatch):
    entry_of("squeezenet1_1", monkeypatch, cached(cache, {"a": Evil(tmp_path / "ran")}))
    with pytest.raises(UserError, match="carries pickled code"):
        create_classifier("squeezenet1_1")
    assert not (tmp_path / "ran").exists()


def test_a_cached_file_of_another_network_is_one_line(cache, monkeypatch):
    entry_of("squeezenet1_1", monkeypatch, cached(cache, {"a": torch.ones(1)}))
    with pytest.raises(UserError, match=r"^[^\n]* does not fit squeezenet1_1: [^\n]*$"):
        create_classifier("squeezenet1_1")


def test_an_empty_or_senseless_file_is_one_line(tmp_path):
    (tmp_path / "a.pth").touch()
    with pytest.raises(UserError, match=r"^[^\n]*a\.pth is empty[^\n]*$"):
        read_state_dict(tmp_path / "a.pth")
    for number, data in enumerate(
        (b"\x80\x02.", b"\x80", b"K", b"\x80\x02]q\x00.", b"PK\x03\x04", b"\x80\x02}q\x00(.")
    ):
        (tmp_path / f"{number}.pth").write_bytes(data)
        with pytest.raises(UserError, match=rf"^[^\n]*{number}\.pth [^\n]*$"):
            read_state_dict(tmp_path / f"{number}.pth")


def test_inside_every_load_is_of_tensors_only(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"a": Evil(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(Exception, match="Weights only load failed"), tensors_only():
        torch.load(tmp_path / "a.pth", weights_only=False)
    assert not (tmp_path / "ran").exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def timm_url(monkeypatch, url):
    timm = pytest.importorskip("timm")
    known = timm.models.get_pretrained_cfg("resnet18")
    other = type(known)(**{**vars(known), "hf_hub_id": None, "url": url})
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: other)
    monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, f"resnet18.{known.tag}", other)
    return timm


def test_what_timm_gets_through_torch_hub_comes_through_the_same_door(cache, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet18", pretrained=False)
    timm_url(monkeypatch, cached(cache, net.state_dict()))
    found = create_classifier("timm/resnet18").net
    assert torch.equal(found.fc.weight, net.fc.weight)
    assert "state_dict" not in found.pretrained_cfg
    assert torch.equal(create_backbone("timm/resnet18").net.net.conv1.weight, net.conv1.weight)
    timm_url(monkeypatch, cached(cache, {"a": Evil(tmp_path / "ran")}))
    with pytest.raises(UserError, match="carries pickled code"):
        create_classifier("timm/resnet18")
    timm_url(monkeypatch, "https://nowhere.invalid/lost-00000000.pth")
    (cache / "lost-00000000.pth").write_bytes(b"other")
    with pytest.raises(UserError, match="not what its name says"):
        create_classifier("timm/resnet18")
    assert not (tmp_path / "ran").exists()


def test_what_timm_gets_from_the_hugging_face_hub_is_not_unpickled(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    torch.save({"a": Evil(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")

    def unguarded(*_, **__):
        return torch.load(tmp_path / "pytorch_model.bin", weights_only=False)

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", unguarded)
    with pytest.raises(UserError, match=r"timm's weights of resnet18 could not be downloaded or read"):
        create_classifier("timm/resnet18")
    assert not (tmp_path / "ran").exists()


PLACES = ["timm/hf-hub:someone/net", "timm/hf_hub:someone/net", "timm/local-dir:net", "timm/someone/net", "timm/a\\net"]


@pytest.mark.parametrize("place", PLACES)
def test_a_checkpoint_may_not_name_a_place_to_load_from(place, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    model = Localizer("tinynet", 2, weights="none")
    object.__setattr__(model.recipe, "backbone", place)
    with monkeypatch.context() as patch:
        patch.setattr("wsl.models.checkpoint.refuse_place", lambda name: None)
        save(model, tmp_path / "model.safetensors")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked"))
    with pytest.raises(UserError, match=r"is a place to load from.*expected a name that timm knows"):
        load(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is a place to load from"):
        save(model, tmp_path / "again.safetensors")
    with pytest.raises(UserError, match="is a place to load from"):
        create(ModelConfig(backbone=place), ["a", "b"], Preprocessing())
    assert unpack(pack(model)) is model
