"""The map decoder: which layers it reads, where its cells look, and how it is kept with its model."""

import pytest
import torch
from torch import nn

from wsl import Predictor
from wsl.maps.refine import Refinement
from wsl.models import (
    Features,
    Localizer,
    MapDecoder,
    OnnxLocalizer,
    create_backbone,
    export_model,
    load,
    pack,
    save,
    unpack,
)
from wsl.models.decoder import aligned, finest, sampling
from wsl.models.fuse import fuse_batch_norm
from wsl.models.grid import Grid
from wsl.models.taps import TapReader


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v2", [32, 96, 1280]),  # what goes from block to block, and not the six times as wide insides
        ("resnet18", [128, 256, 512]),
        ("resnet50", [256, 512, 2048]),
        ("tinynet", [48, 128]),
        ("swin_t", [768]),
    ],
)
@pytest.mark.quick("name", ["mobilenet_v2", "resnet18", "tinynet"])
def test_levels_are_as_narrow_as_the_network_passes_them_on(name, channels):
    shapes = create_backbone(name, "none").level_shapes((96, 96))
    assert [shape[0] for shape in shapes] == channels
    sides = [shape[1] for shape in shapes]
    assert sides == sorted(sides, reverse=True)


def test_narrow_layers_hold_what_taps_are_made_of():
    """Of MobileNetV2 the tap is the 1x1 convolution of the narrow layer, with its norm and activation."""
    backbone = create_backbone("mobilenet_v2", "none").eval()
    reader = TapReader(backbone)
    with torch.no_grad(), reader.reading() as read:
        backbone(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for tap, narrow in zip(backbone.taps, backbone.pyramid, strict=True):
        block = tap.rpartition(".conv.")[0]
        assert narrow == f"{block}.conv.0.0"
        expand = nn.Sequential(*(backbone.net.get_submodule(f"{block}.conv.0.{i}") for i in range(3)))
        torch.testing.assert_close(expand(read[narrow]), read[tap])


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_fusing_keeps_the_levels(name):
    model = Localizer(name, 2, weights="none").eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for backbone in (model.backbone, fuse_batch_norm(model).backbone):
        with torch.no_grad(), TapReader(backbone).reading() as read:
            backbone(images)
        found.append([read[layer] for layer in backbone.pyramid])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coarse", [Grid(16, 0.5), Grid(16, 8), Grid(16, 12.5), Grid(32, 3)])
def test_a_level_is_sampled_where_the_finest_looks(coarse):
    """Cells that hold their own position hold the finer cells' positions afterwards."""
    fine, size = Grid(8, 2.5), (64, 96)
    side = [-(-length // int(coarse.stride)) for length in size]
    rows, columns = (float(coarse.start) + coarse.stride * torch.arange(count) for count in side)
    values = torch.stack([rows[:, None].expand(side), columns.expand(side)])[None]
    to = Features(torch.zeros(1, 1, 8, 12), fine)
    found = aligned(Features(values, coarse), to, size)[0]
    expected = [fine.start + fine.stride * torch.arange(count) for count in (8, 12)]
    # Beyond the outermost cells nothing is known.
    expected = [one.clamp(float(ends[0]), float(ends[-1])) for one, ends in zip(expected, (rows, columns), strict=True)]
    torch.testing.assert_close(found[0], expected[0][:, None].expand(8, 12))
    torch.testing.assert_close(found[1], expected[1].expand(8, 12))


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (5, 9), (9, 5), (3, 3)])
@pytest.mark.parametrize(
    "grids", [(Grid(16, 0.5), Grid(8, 2)), (None, Grid(8, 0.5)), (Grid(7, -3), None), (None, None)]
)
@pytest.mark.parametrize("learns", [False, True])
def test_it_is_what_the_matrix_of_the_host_gives(old, new, grids, learns):
    values = torch.rand(1, 2, old, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(learns)
    to = Features(torch.zeros(1, 1, new, 3), grids[1])
    found = aligned(Features(values, grids[0]), to, (64, 48))
    down, across = (sampling(a, b, side, *grids) for a, b, side in ((old, new, 64), (3, 3, 48)))
    expected = down.weights @ values.detach().double().numpy() @ across.weights.T
    torch.testing.assert_close(found.detach().double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_an_unknown_grid_is_equal_parts_of_the_image():
    values = torch.rand(1, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    to = Features(torch.zeros(1, 1, 8, 12), None)
    found = aligned(Features(values, None), to, (64, 96))
    torch.testing.assert_close(found, nn.functional.interpolate(values, (8, 12), mode="bilinear"))


def test_it_begins_with_small_probabilities():
    decoder = MapDecoder([8, 16], 5).eval()
    levels = [Features(torch.randn(2, 8, 8, 8), Grid(8, 0.5)), Features(torch.randn(2, 16, 4, 4), Grid(16, 0.5))]
    logits = decoder(levels, (64, 64))
    assert logits.shape == (2, 5, 8, 8)
    assert finest(levels).grid == Grid(8, 0.5)
    assert (logits.sigmoid() - 0.119).abs().max() < 0.1
    assert sum(p.numel() for p in MapDecoder([32, 96, 320], 20).parameters()) == 104_084


@pytest.fixture
def model() -> Localizer:
    torch.manual_seed(0)
    model = Localizer("resnet18", classes=["cat", "dog"], weights="none")
    nn.init.normal_(model.add_decoder().classify.weight)
    return model.eval()


def test_it_is_kept_with_its_model(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    images = torch.rand(2, 3, 64, 64)
    everything = torch.tensor([[0, 1]] * 2)
    expected = model.for_inference(torch.device("cpu"), torch.float32)(images, taps=True)
    assert expected.decoded.of(everything).shape == (2, 2, 8, 8)
    assert expected.decoded.grid == Grid(8, 0.5)
    for other in (load(tmp_path), unpack(pack(model))):
        assert other.decodes
        found = other.for_inference(torch.device("cpu"), torch.float32)(images, taps=True)
        assert torch.equal(found.decoded.of(everything), expected.decoded.of(everything))
        assert torch.equal(found.maps_of(everything), expected.maps_of(everything))


def test_inference_is_the_decoder_on_the_networks_own_features(model):
    images = torch.rand(2, 3, 64, 64)
    reader = TapReader(model.backbone)
    with torch.no_grad(), reader.reading() as read:
        features = model.backbone(images)
    reader.remove()
    grids = model.backbone.grids((64, 64))
    levels = [*map(Features, (read[name] for name in model.backbone.pyramid), grids.pyramid)]
    with torch.no_grad():
        expected = model.decoder([*levels, Features(features, grids.map)], (64, 64)).sigmoid()
    found = model.for_inference(torch.device("cpu"), torch.float32)(images, taps=True)
    torch.testing.assert_close(found.decoded.of(torch.tensor([[1], [0]])), expected[[0, 1], [1, 0]][:, None])


def test_class_maps_and_scores_stay_what_they_were(model):
    images = torch.rand(1, 3, 64, 64)
    before = Localizer("resnet18", classes=["cat", "dog"], weights="none").eval()
    before.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("decoder.")})
    for found, expected in zip(model(images), before(images), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_it_is_exported_with_its_model(kind, tmp_path):
    """The exporter itself compares all outputs at another size than the one that was traced."""
    torch.manual_seed(0)
    model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    nn.init.normal_(model.add_decoder().classify.weight)
    model.eval()
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    path = tmp_path / {"onnx": "model.onnx", "torch": "model.pt2"}[kind]
    assert export_model(model, path, kind, image_size=64) < 1e-4
    if kind == "torch":
        return
    exported = OnnxLocalizer(path)
    assert exported.decodes
    images, wanted = torch.rand(2, 3, 96, 64), torch.tensor([[1], [0]])
    found, expected = (
        one.for_inference(torch.device("cpu"), torch.float32)(images, taps=True).decoded for one in (exported, model)
    )
    torch.testing.assert_close(found.of(wanted), expected.of(wanted), rtol=1e-4, atol=1e-4)
    assert found.grid == expected.grid == Grid(4, 2)
    photo = (torch.rand(64, 64, 3) * 255).byte().numpy()
    settings = {"classes": ("cat",), "device": "cpu", "precision": "fp32", "image_size": 64}
    assert Predictor(exported, **settings).refine == "decoder"
    # The file shows no features for a step of the walk.
    own = Predictor(model, refine=Refinement(lambda maps, image, features: maps, decoded=True), **settings)
    assert Predictor(exported, **settings)(photo).points["cat"] == pytest.approx(own(photo).points["cat"])
