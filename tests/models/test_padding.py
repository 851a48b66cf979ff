"""Convolutions padded as TensorFlow pads them: against timm's layer, and on weights that were trained there."""

import csv

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsl import Predictor, UserError
from wsl.models import Localizer, create_backbone, load, pack, save, unpack
from wsl.models.padding import TensorFlowConv2d, TensorFlowMaxPool2d, pad_as_tensorflow


def same(x: torch.Tensor, kernel: int, stride: int, dilation: int, fill: float) -> torch.Tensor:
    """TensorFlow's rule, word by word from its documentation of `tf.nn.convolution`."""
    for axis in (2, 3):
        size = x.shape[axis]
        reach = dilation * (kernel - 1) + 1
        total = max(reach - stride, 0) if size % stride == 0 else max(reach - size % stride, 0)
        pads = [0, 0, 0, 0]
        pads[2 * (3 - axis) : 2 * (3 - axis) + 2] = [total // 2, total - total // 2]
        x = F.pad(x, pads, value=fill)
    return x


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (31, 50), (5, 4)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (7, 2, 1), (3, 3, 1), (3, 2, 2)])
def test_layers_pad_as_tensorflow_says(size, kernel, stride, dilation):
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    conv = nn.Conv2d(4, 6, kernel, stride, dilation * (kernel - 1) // 2, dilation, groups=2)
    expected = F.conv2d(same(x, kernel, stride, dilation, 0.0), conv.weight, conv.bias, stride, 0, dilation, 2)
    found = TensorFlowConv2d.of(conv)(x)
    assert found.shape[2:] == tuple(-(-n // stride) for n in size)
    torch.testing.assert_close(found, expected)
    pool = TensorFlowMaxPool2d(kernel, stride, 0, dilation)
    torch.testing.assert_close(
        pool(x), F.max_pool2d(same(x, kernel, stride, dilation, -torch.inf), kernel, stride, 0, dilation)
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1", "vgg11"])
@pytest.mark.quick("name", ["mobilenet_v2"])
def test_only_strided_layers_that_pad_are_replaced(name):
    backbone = create_backbone(name, "none")
    layers = [(n, m) for n, m in backbone.net.named_modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]
    strided = [n for n, m in layers if m.stride not in (1, (1, 1)) and m.padding not in (0, (0, 0))]
    if not strided:
        with pytest.raises(UserError, match="no strided convolution"):
            pad_as_tensorflow(backbone)
        return
    padded = pad_as_tensorflow(backbone)
    ours = [n for n, m in padded.net.named_modules() if isinstance(m, (TensorFlowConv2d, TensorFlowMaxPool2d))]
    assert ours == strided
    assert padded.state_dict().keys() == backbone.state_dict().keys()
    assert not any(isinstance(m, TensorFlowConv2d) for m in backbone.net.modules())


def test_inference_and_files_keep_it(tmp_path):
    model = Localizer("mobilenet_v2", 3, weights="none", padding="tensorflow").eval()
    images = torch.randn(2, 3, 63, 32, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    save(model, tmp_path / "model.safetensors")
    for other in (model, load(tmp_path), unpack(pack(model))):
        found = other.for_inference(torch.device("cpu"), torch.float32)(images)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-10)
        assert found.grid is None or found.grid.stride == 32
    plain = Localizer("mobilenet_v2", 3, weights="none").eval()
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(plain(images).scores, expected.scores, rtol=0.1, atol=0)


@pytest.mark.long
def test_the_grid_is_that_of_timms_network_of_this_padding():
    pytest.importorskip("timm")
    ours = pad_as_tensorflow(create_backbone("mobilenet_v2", "none"))
    theirs = create_backbone("timm/tf_mobilenetv3_large_100", "none")
    for side in (64, 97):
        assert ours.grids((side, side)).map == theirs.grids((side, side)).map


@pytest.mark.long
@pytest.mark.realdata
def test_weights_of_tensorflow_classify_better_with_its_padding(realdata):
    weights = realdata / "weights" / "mobilenet_v2-coral-tf2ptq-fp16.pth"
    with (realdata / "imagenet_samples" / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    images = [realdata / "imagenet_samples" / row["file"] for row in rows]
    model = Localizer.from_classifier("mobilenet_v2", str(weights))
    right = {}
    for padding in ("own", "tensorflow"):
        if padding == "tensorflow":
            model.backbone = pad_as_tensorflow(model.backbone)
        predictor = Predictor(model, device="cpu", precision="fp32", refine="none", max_scores=1)
        best = [model.classes.index(next(iter(found.scores))) for found in predictor(images)]
        right[padding] = np.mean([one == int(row["imagenet_class_index"]) for one, row in zip(best, rows, strict=True)])
    assert right["tensorflow"] > right["own"]
