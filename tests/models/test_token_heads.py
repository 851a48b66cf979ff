"""Localizers with the heads of TS-CAM and SCM: maps from explicit attention, training, and what is kept."""

import copy

import numpy as np
import pytest
import torch

import wsl
from heads import TokenClassifier
from wsl.cam.class_attention import ClassAttentionMode
from wsl.config import ModelConfig, Preprocessing, TrainConfig, from_json, to_json
from wsl.errors import UserError
from wsl.inference import Predictor
from wsl.models import Localizer, create, load, pack, save, unpack
from wsl.models.class_attention import attended

pytest.importorskip("timm")

CLASSES = ("cat", "dog", "cow")
TINY = "timm/test_vit"
CPU = torch.device("cpu")


def localizer(backbone=TINY, head="ts-cam", **options):
    torch.manual_seed(0)
    side = {"preprocessing": Preprocessing(image_size=64), **options}
    model = Localizer(backbone, classes=CLASSES, head=head, weights="none", **side).eval()
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if "qkv" in name or "in_proj" in name:  # else all attention is nearly uniform
                parameter.mul_(20 if "dinov2" in backbone else 3 if parameter.std() < 0.03 else 1.5)
    return model


def random_images(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def explicit_attention(model, images):
    """The attention matrices (N, heads, T, T) of every block, by the libraries' own unfused computation."""
    found, hooks = [], []
    for module in model.backbone.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
            hooks.append(module.attn_drop.register_forward_hook(lambda _, given, out: found.append(given[0])))
        if isinstance(module, torch.nn.MultiheadAttention):

            def see(layer, given, out):
                weights = torch.nn.functional.multi_head_attention_forward
                sequence = given[0].transpose(0, 1)
                _, matrix = weights(
                    *(sequence,) * 3, layer.embed_dim, layer.num_heads, layer.in_proj_weight, layer.in_proj_bias,
                    None, None, False, 0.0, layer.out_proj.weight, layer.out_proj.bias, training=False,
                    need_weights=True, average_attn_weights=False,
                )  # fmt: skip
                found.append(matrix)

            hooks.append(module.register_forward_hook(see))
    with torch.no_grad():
        features = model.backbone(images)
    for hook in hooks:
        hook.remove()
    return features, found


@pytest.mark.parametrize(
    ("backbone", "size", "cells", "prefix", "head"),
    [
        (TINY, (64, 96), (4, 6), 1, "ts-cam"),
        (TINY, (64, 96), (4, 6), 1, "scm"),
        ("timm/deit_tiny_distilled_patch16_224", (96, 64), (6, 4), 2, "ts-cam"),
        ("timm/vit_small_patch14_reg4_dinov2", (56, 84), (4, 6), 5, "ts-cam"),
        ("vit_b_32", (224, 224), (7, 7), 1, "ts-cam"),
    ],
)
@pytest.mark.quick("backbone", [TINY])
def test_maps_are_those_of_explicit_attention(backbone, size, cells, prefix, head, reference):
    model, images = localizer(backbone, head), random_images(*size)
    with torch.no_grad():
        scores, maps = model(images)
    output = model.for_inference(CPU, torch.float32)(images)
    features, matrices = explicit_attention(copy.deepcopy(model), images)
    assert len(matrices) == (6 if backbone == TINY else 12)
    assert maps.shape == (2, 3, *cells)
    assert model.backbone.prefix == prefix
    with torch.no_grad():
        attention = attended(model.backbone, images).attention
    assert attention.std() > 0.02 * attention.mean()
    with torch.no_grad():
        expected_scores, semantic = model.head(features)
    for row in range(2):
        of_image = [matrix[row].double().numpy() for matrix in matrices]
        expected = reference.token_heads.tscam(of_image, semantic[row].double().numpy(), prefix)
        np.testing.assert_allclose(maps[row].numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, expected_scores)
    torch.testing.assert_close(output.scores, scores)
    torch.testing.assert_close(output.maps_of(torch.tensor([[2, 0], [1, 1]])), maps[[[0], [1]], [[2, 0], [1, 1]]])


def test_lower_precision_gives_about_the_same_maps():
    model, images = localizer(), random_images(64, 64)
    with torch.no_grad():
        expected = model(images).maps
    ready = model.for_inference(CPU, torch.bfloat16)
    maps = ready(images).maps_of(torch.arange(3).expand(2, 3))
    assert maps.dtype == torch.float32
    assert float((maps - expected).abs().max() / expected.abs().max()) < 0.1


def test_reading_attention_changes_nothing_in_the_network():
    model, images = localizer(), random_images(64, 64)
    with torch.no_grad():
        assert torch.equal(attended(model.backbone, images).features, model.backbone(images))
    query = torch.randn(2, 3, 5, 8)
    mask = torch.rand(2, 1, 5, 5) > 0.3
    mask[..., 0] = True
    for options in ({}, {"attn_mask": mask}, {"attn_mask": mask.float()}, {"is_causal": True}, {"scale": 0.3}):
        rows = []
        attend = torch.nn.functional.scaled_dot_product_attention
        with ClassAttentionMode(rows.append):
            found = attend(query, query, torch.eye(5).expand(2, 3, 5, 5), **options)
        assert torch.equal(found, attend(query, query, torch.eye(5).expand(2, 3, 5, 5), **options))
        torch.testing.assert_close(rows[0], found[:, :, 0])


def test_training_of_tscam_reads_no_attention_and_that_of_scm_learns_by_it(monkeypatch):
    images, read = random_images(32, 32), []
    own = ClassAttentionMode.__init__
    monkeypatch.setattr(ClassAttentionMode, "__init__", lambda self, see: read.append(1) or own(self, see))
    for head, times in (("ts-cam", 0), ("scm", 1)):
        model = localizer(head=head).train()
        read.clear()
        scores, _ = model(images)
        assert len(read) == times
        scores.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_saved_model_is_the_same_when_loaded(tmp_path):
    model, images = localizer(head="scm", pooling="lse(beta=2)"), random_images(64, 64)
    save(model, tmp_path / "model.safetensors")
    for again in (load(tmp_path), unpack(pack(model))):
        assert isinstance(again.head, TokenClassifier)
        assert again.recipe == model.recipe
        assert again.recipe.head == "scm"
        for got, expected in zip(again(images), model(images), strict=True):
            assert torch.equal(got, expected)
    assert torch.equal(load(tmp_path).head.calibration.blocks[2].threshold, torch.tensor([0.5]))


def test_training_goes_on_from_another_run(tmp_path):
    before = localizer(head="scm")
    with torch.no_grad():
        before.head.calibration.blocks[1].strength.fill_(0.7)
    save(before, tmp_path / "model.safetensors")

    def start(head, classes=CLASSES):
        return create(
            ModelConfig(backbone=TINY, weights=str(tmp_path), head=head), classes, Preprocessing(image_size=64)
        ).head

    assert torch.equal(start("ts-cam").conv.weight, before.head.conv.weight)
    assert torch.equal(start("scm").conv.weight, before.head.conv.weight)
    assert torch.equal(start("scm").calibration.blocks[1].strength, torch.tensor([0.7]))
    assert start(None).conv.kernel_size == (1, 1)
    assert not torch.equal(start("ts-cam", ("cat", "dog", "hen")).conv.weight, before.head.conv.weight)


def test_a_predictor_and_cam_show_the_coupled_maps():
    model = localizer()
    photo = np.random.default_rng(0).integers(0, 255, (48, 80, 3)).astype(np.uint8)
    found = Predictor(model, classes=("dog",), device="cpu", precision="fp32", refine="none")(photo)
    assert found.maps["dog"].shape == (4, 4)
    images = random_images(64, 64)
    torch.testing.assert_close(wsl.cam(model, images, classes=["dog"]), model(images).maps[:, 1:2])
    assert wsl.cam(model, images, classes=["dog"], method="layercam").shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("tinynet", {}, "head 'ts-cam' reads what a class token attends to, and tinynet has no class token: expected"),
        ("timm/vit_medium_patch16_reg4_gap_256", {}, "reg4_gap_256 has no class token: expected a vision transformer"),
        ("timm/cait_xxs24_224", {}, "that of timm/cait_xxs24_224 attends to no patches in the network"),
        (TINY, {"head": "tscam"}, r"unknown head 'tscam': did you mean 'ts-cam'\?"),
        (TINY, {"pooling": "netvlad"}, "head 'ts-cam' pools class maps, and netvlad has none: expected a pooling"),
        (TINY, {"pooling": "csra(heads=4, lam=0.5)"}, "has a 1x1 convolution of its own"),
        ("vit_b_32", {"output_stride": 16}, "output stride 16 of vit_b_32: its own is 32 and cannot be changed"),
    ],
)
@pytest.mark.quick("backbone", ["tinynet", TINY])
def test_what_does_not_go_together_is_one_line(backbone, options, message):
    with pytest.raises(UserError, match=message) as raised:
        localizer(backbone, **options)
    assert "\n" not in str(raised.value)


def test_the_setting_is_written_and_read():
    text = '{"data": {"data": "d"}, "out": "o", "model": {"head": "scm"}, "optim": {"freeze_backbone": %s}}'
    settings = from_json(text % "false", TrainConfig)
    assert settings.model.head == "scm"
    assert from_json(to_json(settings), TrainConfig) == settings
    with pytest.raises(UserError, match="head scm reads attention in training, but a frozen backbone uses cached"):
        from_json(text % "true", TrainConfig)
    with pytest.raises(UserError, match="head"):
        from_json(text.replace("scm", "tscam") % "false", TrainConfig)
