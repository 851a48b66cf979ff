"""Exported files say for which image sizes they and their grids hold."""

import io
import json

import pytest
import torch
from torch import nn

from wsl.checkpoints import METADATA_KEY
from wsl.errors import UserError
from wsl.models import Localizer, OnnxLocalizer, export_model
from wsl.models.export import describe
from wsl.models.onnx import _read_grid


class PaddedWindows(nn.Module):
    """As Swin: padding up to whole windows, in every stage, and cutting it off again."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 2, 2) for i in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = layer(nn.functional.pad(x, (0, -x.shape[-1] % 7, 0, -x.shape[-2] % 7)))
        return x


class Same(nn.Module):
    """TensorFlow's padding: as much as the size needs, the odd one behind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x):
        amounts = [max(2 * ((side + 1) // 2) + 1 - side, 0) for side in (x.shape[-1], x.shape[-2])]
        return self.conv(nn.functional.pad(x, [part for a in amounts for part in (a // 2, a - a // 2)]))


def exported(net, path, **options):
    torch.manual_seed(0)
    model = Localizer(net, 2, weights="none").eval()
    assert export_model(model, path, "onnx", **options) < 1e-4
    return model, OnnxLocalizer(path)


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    """A model of that padding, and its file."""
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("same") / "a.onnx"
    return exported(Same(), path, image_size=64)[0], path


def test_a_grid_that_depends_on_the_size_is_given_for_its_size_only(same):
    model, found = same[0], OnnxLocalizer(same[1])
    assert (model.grid((64, 64)), model.grid((65, 65))) == ((2, 1.5), (2, 0.5))
    for size in ((64, 64), (65, 65), (64, 65)):
        assert found.grid(size) == (model.grid(size) if size == (64, 64) else None)
        images = torch.randn(1, 3, *size)
        output = found.for_inference(torch.device("cpu"), torch.float32)(images)
        assert output.grid == found.grid(size)
        torch.testing.assert_close(output.scores, model(images).scores, rtol=1e-4, atol=1e-4)


def test_a_grid_of_every_size_holds_for_every_size():
    known = json.loads(describe(Localizer("resnet18", 2, weights="none"), 64))
    assert known["grid"] == {"stride": 32, "start": 0.5, "size": None}
    assert known["size"] is None


def test_descriptions_of_older_files_are_read():
    assert _read_grid({"stride": 32, "start": 0.5}) == ((32, 0.5), None)
    assert _read_grid(None) == (None, None)


@pytest.mark.long
def test_sizes_that_become_long_expressions_are_closed(tmp_path, caplog):
    pytest.importorskip("onnxscript")
    model, found = exported(PaddedWindows(), tmp_path / "a.onnx", image_size=96)
    assert "cannot be exported for every image size: exporting it for 96 x 96" in caplog.text
    assert (found.size, found.preprocessing.image_size) == ((96, 96), 96)
    images = torch.randn(3, 3, 96, 96)
    torch.testing.assert_close(found(images).maps, model(images).maps, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"^the ONNX model takes images of 96 x 96, given are 64 x 96: [^\n]*$"):
        found(torch.randn(1, 3, 64, 96))


@pytest.mark.long
@pytest.mark.realdata
def test_of_trained_weights_the_export_differs_by_what_float32_leaves(realdata, tmp_path):
    """Random weights say nothing: mobilenet_v2's outputs are then about 1e-9, and any difference is below that."""
    pytest.importorskip("onnxscript")
    weights = realdata / "weights" / "mobilenet_v2-coral-tf2ptq-fp16.pth"
    model = Localizer.from_classifier("mobilenet_v2", weights=str(weights)).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))).maps
    assert maps.abs().max() > 10
    assert 1e-6 < export_model(model, tmp_path / "a.onnx", "onnx", image_size=64) < 2e-4


def test_a_file_of_fewer_classes_than_outputs_is_refused(same, tmp_path):
    onnx = pytest.importorskip("onnx")
    file = onnx.load(same[1])
    for entry in file.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps({**json.loads(entry.value), "classes": ["cat"]})
    onnx.save(file, tmp_path / "a.onnx")
    with pytest.raises(UserError, match="the ONNX model gives 2 scores and names 1 classes, expected as many"):
        OnnxLocalizer(tmp_path / "a.onnx")


@pytest.mark.long
def test_torch_s_file_goes_through_a_file_of_python_s(tmp_path, monkeypatch):
    """Written by torch itself, a full disk ends the process."""

    saved = []
    save = torch.export.save
    monkeypatch.setattr(torch.export, "save", lambda program, f, **more: (saved.append(f), save(program, f, **more))[1])
    export_model(Localizer("tinynet", 2, weights="none").eval(), tmp_path / "a.pt2", "torch", image_size=64)
    assert [type(file) for file in saved] == [io.BytesIO]
