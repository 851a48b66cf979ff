"""Classifiers of transformers: every family localizes, from the files that save_pretrained writes and no others."""

import json
import logging
import pickle
import re
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from wsl.checkpoints import check_weights
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.inference import Predictor
from wsl.models import CamLocalizer, Localizer, create_backbone, create_classifier, open_model, pack, save, unpack
from wsl.models.image_processor import read_processor

transformers = pytest.importorskip("transformers")

SIDE = 64
NAMES = ["cat", "dog", "heron", "newt", "owl"]
TOKENS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
# Family, its configuration, the method where it has no class maps of its own, and the layer that is read, whose name
# changes between releases.
FAMILIES = {
    "ViT": (
        {**TOKENS, "image_size": SIDE, "patch_size": 16},
        "legrad",
        r"vit\.(layers|encoder\.layer)\.1\.layernorm_before",
    ),
    "DeiT": (
        {**TOKENS, "image_size": SIDE, "patch_size": 16},
        "legrad",
        r"deit\.(layers|encoder\.layer)\.1\.layernorm_before",
    ),
    "Dinov2": ({**TOKENS, "image_size": 56, "patch_size": 14}, "layercam", r"dinov2\.layernorm"),
    "Beit": ({**TOKENS, "image_size": SIDE, "patch_size": 16}, None, r"beit\.(layers\.1|encoder)"),
    "Swin": ({"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}, None, r"swin\.layernorm"),
    "ConvNext": ({"hidden_sizes": [8, 8, 16, 32], "depths": [1, 1, 1, 1]}, None, r"convnext\.encoder"),
    "ResNet": (
        {"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 1], "layer_type": "basic"},
        None,
        r"resnet\.encoder",
    ),
    "MobileNetV2": ({"image_size": SIDE, "depth_multiplier": 0.35}, None, r"mobilenet_v2\.conv_1x1"),
}


def build(family, **options):
    """An untrained classifier whose logits differ enough that an error would show."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    settings = {**FAMILIES[family][0], **labels, **options}
    config = getattr(transformers, f"{family}Config")(**settings)
    net = getattr(transformers, f"{family}ForImageClassification")(config).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the running statistics become those of the batch
        if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
            net.train()(torch.randn(4, 3, SIDE, SIDE))
    return net.eval()


def side_of(net):
    return getattr(net.config, "image_size", None) if net.config.model_type == "dinov2" else SIDE


def saved(net, folder, **processor):
    net.save_pretrained(folder)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.25, 0.5],
        "size": {"height": side_of(net), "width": side_of(net)},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | processor))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return saved(build("ViT"), tmp_path_factory.mktemp("vit"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.quick("family", ["ResNet", "Swin", "ViT"])
def test_scores_are_the_classifiers_own(family, tmp_path):
    net = build(family)
    model = open_model(f"hf/someone/{family}", saved(net, tmp_path))
    images = torch.randn(2, 3, side_of(net), side_of(net))
    with torch.no_grad():
        expected, (scores, maps) = net(images).logits, model(images)
    assert expected.std() > 0.1
    assert (scores - expected).abs().max() < 1e-4
    assert maps.ndim == 4
    assert maps.std() > 0
    assert model.classes == tuple(NAMES)
    assert model.preprocessing.image_size == side_of(net)
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    _, method, layer = FAMILIES[family]
    if method is None:
        assert isinstance(model, Localizer)
        assert re.fullmatch(layer, model.recipe.layer)
        torch.testing.assert_close(maps.mean((2, 3)), scores, atol=1e-4, rtol=0)
    else:
        assert isinstance(model, CamLocalizer)
        assert model.method == method
        assert re.fullmatch(layer, *model.layers)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.quick("family", ["ResNet", "ViT"])
def test_images_of_another_size(family, tmp_path):
    """Position embeddings are interpolated where there are some, and the maps have the image's shape."""
    model = open_model(f"hf/someone/{family}", saved(build(family), tmp_path))
    size = (112, 140) if family == "Dinov2" else (96, 128)
    scores, maps = model(torch.randn(1, 3, *size))
    assert scores.isfinite().all()
    rows, columns = maps.shape[2:]
    assert rows / columns == pytest.approx(size[0] / size[1], rel=0.1)


def test_interpolated_scores_are_those_of_the_library(vit):
    net, images = build("ViT"), torch.randn(1, 3, 96, 96)
    model = open_model("hf/a/b", vit)
    with torch.no_grad():
        expected = net(images, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(model(images).scores, expected, atol=1e-4, rtol=0)


def test_a_method_and_its_layers_by_name(vit):
    block = next(name for name, _ in build("ViT").named_modules() if name.endswith(("layers.0", "layer.0")))
    model = open_model("hf/a/b", vit, method="gradcam", layers=[block])
    assert (model.method, model.layers) == ("gradcam", (block,))
    with pytest.raises(UserError, match=f"no layer 'x{block}': did you mean '{block}'"):
        open_model("hf/a/b", vit, method="gradcam", layers=[f"x{block}"])
    with pytest.raises(UserError, match="more than pooling and a linear layer"):
        open_model("hf/a/b", vit, method="cam")


@pytest.mark.parametrize("family", ["ViT", "ResNet"])
def test_a_predictor_goes_to_another_process(family, tmp_path):
    model = open_model("hf/a/b", saved(build(family), tmp_path / "model"))
    image = torch.randint(0, 256, (80, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).numpy()
    images = torch.randn(1, 3, SIDE, SIDE)
    again = unpack(pickle.loads(pickle.dumps(pack(model))))  # noqa: S301
    torch.testing.assert_close(again(images).scores, model(images).scores)
    predictor = Predictor(model, top_k=2)
    other = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    assert other(image).scores == predictor(image).scores


def test_multi_label_heads_have_a_sigmoid_each(tmp_path):
    for family in ("ViT", "ResNet"):
        net = build(family, problem_type="multi_label_classification")
        model = open_model("hf/a/b", saved(net, tmp_path / family))
        scores = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
        torch.testing.assert_close(model.probabilities(scores), scores.double().sigmoid())


def test_a_module_has_the_names_of_its_configuration():
    model = Localizer.from_classifier(build("ViT"), preprocessing=Preprocessing(image_size=SIDE))
    assert model.classes == tuple(NAMES)


def test_classes_have_numbers_where_the_configuration_has_no_names(vit, monkeypatch):
    net = build("ViT")
    net.config.id2label = None
    monkeypatch.setattr("wsl.models.transformers_models._load", lambda *_: net)
    assert open_model("hf/a/b", vit).classes == tuple(f"class {number}" for number in range(5))


def test_a_file_takes_the_configuration_beside_it(vit):
    net, images = build("ViT"), torch.randn(1, 3, SIDE, SIDE)
    model = open_model("hf/a/b", vit / "model.safetensors")
    torch.testing.assert_close(model(images).scores, net(images).logits, atol=1e-4, rtol=0)


def test_tensors_in_a_pth_file(vit, tmp_path):
    (tmp_path / "config.json").write_bytes((vit / "config.json").read_bytes())
    torch.save({"state_dict": load_file(vit / "model.safetensors")}, tmp_path / "best.pth")
    net, images = build("ViT"), torch.randn(1, 3, SIDE, SIDE)
    model = open_model("hf/a/b", tmp_path / "best.pth")
    torch.testing.assert_close(model(images).scores, net(images).logits, atol=1e-4, rtol=0)


def test_weights_in_several_files(tmp_path):
    net, images = build("ViT"), torch.randn(1, 3, SIDE, SIDE)
    net.save_pretrained(saved(net, tmp_path), max_shard_size="20KB")
    (tmp_path / "model.safetensors").unlink()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(open_model("hf/a/b", tmp_path)(images).scores, net(images).logits, atol=1e-4, rtol=0)


def test_half_precision_weights_are_read_as_float32(tmp_path):
    model = open_model("hf/a/b", saved(build("ViT").half(), tmp_path))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_blue_green_red_is_turned(tmp_path):
    net = build("ResNet")
    flips = {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True}
    model = open_model("hf/a/b", saved(net, tmp_path, **flips))
    images = torch.randn(1, 3, SIDE, SIDE)
    torch.testing.assert_close(model(images).scores, net(images.flip(1)).logits, atol=1e-4, rtol=0)


CROP = {"height": 24, "width": 24}


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 64),
        ({"size": 384}, 384),
        ({"size": [40, 40]}, 40),
        ({"size": {"shortest_edge": 32}, "crop_size": CROP, "do_center_crop": True}, 24),
        ({"size": {"height": 32, "width": 32}, "crop_size": CROP, "do_center_crop": False}, 32),
    ],
)
def test_sizes_in_every_way_of_giving_them(settings, size):
    assert read_processor(settings, [64, 64]).image_size == size


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"do_rescale": False}),
        ("EfficientNetImageProcessor", {"include_top": True, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
        ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    ],
)
def test_pixels_are_what_the_processor_makes_of_them(kind, options):
    options = {"size": {"height": 64, "width": 64}, "do_center_crop": False} | options
    processor = getattr(transformers, kind)(**options)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    found = read_processor(processor.to_dict())
    mean, std = (torch.tensor(part)[:, None, None] for part in (found.mean, found.std))
    torch.testing.assert_close((image / 255 - mean) / std, expected.float(), atol=1e-4, rtol=1e-4)


def test_no_processor_is_said(vit, tmp_path, caplog):
    build("ViT").save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "wsl"):
        model = open_model("hf/a/b", tmp_path)
    assert (model.preprocessing.image_size, model.preprocessing.mean[0]) == (SIDE, 0.485)
    assert "no preprocessor_config.json" in caplog.text


def test_nothing_is_printed_and_the_library_s_settings_stay(vit, capfd):
    logs = transformers.utils.logging
    before = logs.get_verbosity(), logs.is_progress_bar_enabled()
    capfd.readouterr()
    open_model("hf/a/b", vit)
    assert capfd.readouterr() == ("", "")
    assert (logs.get_verbosity(), logs.is_progress_bar_enabled()) == before


def refused(match, *args, **options):
    with pytest.raises(UserError, match=match) as caught:
        open_model(*args, **options)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_one_line(vit, tmp_path):
    config = json.loads((vit / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((vit / "model.safetensors").read_bytes())
    refused("has no config.json", "hf/a/b", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    refused(r"does not fit hf/a/b: vit\..*\.2\..* is missing", "hf/a/b", tmp_path)
    more = {str(i): str(i) for i in range(9)}
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": more, "label2id": {}}))
    refused(r"classifier\.(bias|weight) is \(5.*expected \(9.*another number of classes", "hf/a/b", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    refused("hf/a/b cannot be opened from .*expected an image classifier", "hf/a/b", tmp_path)
    (tmp_path / "config.json").write_text("{")
    refused(r"config\.json: not JSON", "hf/a/b", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    refused("hf/a/b cannot be opened from", "hf/a/b", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(load_file(vit / "model.safetensors"), tmp_path / "pytorch_model.bin")
    refused("has no model.safetensors .*pickled ones are not loaded", "hf/a/b", tmp_path)
    refused("no weights 'lost' for hf/a/b", "hf/a/b", "lost")


def test_code_from_elsewhere_is_not_run(vit, tmp_path):
    config = json.loads((vit / "config.json").read_text()) | {"model_type": "evil"}
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    (tmp_path / "model.safetensors").write_bytes((vit / "model.safetensors").read_bytes())
    refused("hf/a/b cannot be opened from", "hf/a/b", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation_internal", "experts_implementation"])
def test_kernels_from_the_hub_are_not_loaded(vit, tmp_path, key):
    config = json.loads((vit / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((vit / "model.safetensors").read_bytes())
    for more in ({key: "someone/kernel@main"}, {"vision_config": {key: {"": "someone/kernel"}}}):
        (tmp_path / "config.json").write_text(json.dumps(config | more))
        refused("asks for code of the hub, 'someone/kernel", "hf/a/b", tmp_path)


def test_no_weights_need_a_configuration():
    with pytest.raises(UserError, match=r"expected DEFAULT or a folder that holds config\.json"):
        create_classifier("hf/google/vit-base-patch16-224", "none")


@pytest.mark.parametrize("name", ["hf/../models", "hf//etc", "hf/a/b/c", "hf/"])
def test_a_path_is_no_name_of_the_hub(name):
    with pytest.raises(UserError, match="is not a name on the Hugging Face hub"):
        create_classifier(name)


def test_the_hub_is_asked_for_safetensors_only_and_its_failure_is_one_line(vit, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(vit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = open_model("hf/google/vit-base-patch16-224")
    assert model.classes == tuple(NAMES)
    ((name, patterns),) = asked
    assert name == "google/vit-base-patch16-224"
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in patterns)

    def fail(*_, **__):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    refused(r"hf/a/b could not be downloaded \(no route to host\).*--local-weights", "hf/a/b")


def test_without_the_library_the_extra_is_named(vit, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(r"pip install 'wsl-toolkit\[transformers\]'", "hf/a/b", vit)


def test_checkpoints_do_not_name_places_to_download_from(vit, tmp_path):
    model = Localizer.from_classifier("hf/a/b", str(saved(build("ResNet"), tmp_path)))
    with pytest.raises(UserError, match="is a place to load from, and a checkpoint may not name one"):
        save(model, tmp_path / "saved.safetensors")
    with pytest.raises(UserError, match="is a place to load from, and a checkpoint may not name one"):
        Localizer.from_recipe(model.recipe)
    with pytest.raises(UserError, match="is a whole classifier, not a backbone"):
        create_backbone("hf/a/b")
    with pytest.raises(UserError, match="output stride 8 of hf/a/b"):
        Localizer.from_classifier("hf/a/b", str(vit), output_stride=8)


def test_weights_are_checked_before_torch_is_loaded(vit, tmp_path):
    assert check_weights("hf/google/vit-base-patch16-224") is None
    assert check_weights("hf/a/b", vit) is None
    assert check_weights("hf/a/b", vit / "model.safetensors") is None
    with pytest.raises(UserError, match=r"has no config\.json"):
        check_weights("hf/a/b", tmp_path)
    with pytest.raises(UserError, match="no weights file at"):
        check_weights("resnet50", vit)
    with pytest.raises(UserError, match="or hf/google/vit-base-patch16-224"):
        open_model("no-such-model")
