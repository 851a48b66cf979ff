"""A model that was saved is the same model when loaded, and what cannot be loaded says why in one line."""

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torchvision import models as torchvision_models

from wsl.config import ModelConfig, Preprocessing
from wsl.errors import UserError
from wsl.models import Localizer, create, load, open_model, save


def scores_of(model, images):
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize("pooling", ["gap", "weldon(k_max=0.2, k_min=0.2)", "wildcat(k_max=0.2, k_min=0.2, alpha=0.7)"])
@pytest.mark.quick("pooling", lambda pooling: "wildcat" in pooling)
def test_round_trip(tmp_path, pooling):
    classes = ["dog", 'sofa "big"', "äöü/猫"]
    model = Localizer(
        "resnet18",
        pooling=pooling,
        maps_per_class=4,
        weights="none",
        output_stride=16,
        classes=classes,
        preprocessing=Preprocessing(image_size=96, resize="letterbox"),
    )
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path)
    images = torch.randn(2, 3, 96, 96)
    for got, expected in zip(scores_of(again, images), scores_of(model, images), strict=True):
        assert torch.equal(got, expected)
    assert again.recipe == model.recipe
    assert again.classes == tuple(classes)


def test_a_classifier_s_localizer_round_trips(tmp_path):
    torch.save(torchvision_models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "five.pth")
    model = Localizer.from_classifier("squeezenet1_1", str(tmp_path / "five.pth"))
    save(model, tmp_path / "model.safetensors")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(scores_of(load(tmp_path), images).maps, scores_of(model, images).maps)
    assert load(tmp_path).recipe.multi_label is False


def test_a_checkpoint_of_another_head_is_refused(tmp_path):
    save(Localizer("tinynet", 3, weights="none"), tmp_path / "model.safetensors")
    metadata = {"wsl-toolkit": json.dumps({**_recipe(), "classes": ["only one"]})}
    state = Localizer("tinynet", 3, weights="none").state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=r"head\.conv\.weight is \(3, 128, 1, 1\), expected \(1, 128, 1, 1\)"):
        load(tmp_path)


def _recipe():
    return {"backbone": "tinynet", "pooling": "gap", "preprocessing": {}}


@pytest.mark.parametrize(
    "metadata",
    [None, {"wsl-toolkit": "{"}, {"wsl-toolkit": "[]"}, {"wsl-toolkit": '{"backbone": "tinynet"}'}],
    ids=["foreign", "not json", "not a recipe", "incomplete"],
)
def test_foreign_files_are_refused(tmp_path, metadata):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load(tmp_path)


def test_a_file_cut_off_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save(Localizer("tinynet", 3, weights="none"), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_failing_to_save_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "model.safetensors"
    save(Localizer("tinynet", 3, weights="none"), path)
    before = path.read_bytes()

    def full_disk(state, file, metadata):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr("wsl.models.weights.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(Localizer("tinynet", 3, weights="none"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_what_weights_may_name(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        open_model("no-such-model")
    with pytest.raises(UserError, match="nothing is there"):
        open_model("runs/none")
    with pytest.raises(UserError, match="no model at"):
        open_model(str(tmp_path))
    with pytest.raises(UserError, match=r"a classifier and not a run: wsl.Localizer.from_classifier\('resnet18'\)"):
        load("resnet18")
    for file, kind in (
        ("config.json", "an unfinished run, which wsl-train --resume"),
        ("localizations.jsonl", "results"),
    ):
        (tmp_path / file).touch()
        with pytest.raises(UserError, match=kind):
            open_model(str(tmp_path))
    torch.save(torchvision_models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    for model in (open_model("resnet18", tmp_path / "resnet18.pth"), open_model(str(tmp_path / "resnet18.pth"))):
        assert model.classes[0] == "tench"
        assert not model.training


def test_a_backbone_without_a_name_cannot_be_saved(tmp_path):
    model = Localizer(torch.nn.Conv2d(3, 4, 3), 2)
    with pytest.raises(UserError, match="has no name"):
        save(model, tmp_path / "model.safetensors")


def test_training_can_start_from_another_run(tmp_path):
    before = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    save(before, tmp_path / "model.safetensors")

    def start(classes, **settings):
        return create(ModelConfig(backbone="tinynet", weights=str(tmp_path), **settings), classes, Preprocessing())

    same = start(["cat", "dog"], pooling="gmp")
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), before.parameters(), strict=True))
    for other in (
        start(["cat", "cow"]),
        start(["cat", "dog"], maps_per_class=3),
        start(["cat", "dog"], neck="sppblock"),
    ):
        assert torch.equal(next(other.backbone.parameters()), next(before.backbone.parameters()))
        channels = before.backbone.out_channels
        assert not torch.equal(other.head.conv.weight[:2, :channels], before.head.conv.weight)
    with pytest.raises(UserError, match="has the backbone tinynet, and --backbone is resnet18"):
        create(ModelConfig(backbone="resnet18", weights=str(tmp_path)), ["cat", "dog"], Preprocessing())


@pytest.mark.parametrize("pooling", ["gap", "spp(levels=(1,))"])
def test_a_head_goes_on_only_behind_the_same_neck(tmp_path, pooling):
    before = Localizer(
        "tinynet", classes=["cat", "dog"], weights="none", pooling=pooling, neck="sppblock(kernels=(3, 5))"
    )
    save(before, tmp_path / "model.safetensors")
    for neck, goes_on in (("sppblock(kernels=[3, 5])", True), ("sppblock(kernels=(3, 7))", False)):
        settings = ModelConfig(backbone="tinynet", weights=str(tmp_path), pooling=pooling, neck=neck)
        heads = (create(settings, ["cat", "dog"], Preprocessing()).head, before.head)
        same = [torch.equal(a, b) for a, b in zip(*(head.parameters() for head in heads), strict=True)]
        assert same[0] is goes_on  # the biases are zero in either


# Every head that is more than a convolution and a pooling without weights.
OWN_WEIGHTS = [
    "lse(learnable=true, classes=auto)",
    "gem(learnable=true, classes=auto, of=probabilities)",
    "mixed(mode=learned)",
    "cat",
    "adaptive(size=2)",
    "attention(hidden=4)",
    "csra(heads=4, lam=0.5)",
]


@pytest.mark.parametrize("pooling", OWN_WEIGHTS)
def test_what_a_head_learnt_beside_its_maps_is_saved(tmp_path, pooling):
    model = Localizer("tinynet", 3, pooling=pooling, weights="none")
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.1)
    save(model, tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(scores_of(load(tmp_path), images).scores, scores_of(model, images).scores)


@pytest.mark.parametrize("pooling", OWN_WEIGHTS)
def test_a_head_starts_from_anothers_convolution_where_it_is_of_the_same_kind(tmp_path, pooling):
    before = Localizer("tinynet", 3, weights="none")
    save(before, tmp_path / "model.safetensors")
    settings = ModelConfig(backbone="tinynet", weights=str(tmp_path), pooling=pooling)
    model = create(settings, before.classes, Preprocessing())
    alike = "csra" not in pooling
    assert torch.equal(model.head.conv.weight[:3], before.head.conv.weight) == alike


def test_a_pooling_that_does_not_fit_class_maps_is_the_user_s_mistake():
    with pytest.raises(UserError, match=r"takes maps of 0 or more.*use stochastic\(probability=softmax\)"):
        Localizer("tinynet", 3, pooling="stochastic", weights="none")
