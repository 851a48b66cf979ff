"""TensorFlow's padding of convolutions, for weights trained in TensorFlow."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from wsl.errors import UserError
from wsl.models.backbone import Backbone


def pad_as_tensorflow(backbone: Backbone) -> Backbone:
    """A copy of a backbone whose strided convolutions and max pools pad as TensorFlow does.

    TensorFlow's "same" padding turns n cells into ceil(n / stride), with any odd pixel of padding on the right and at
    the bottom. With stride 2, kernel 3 and an even size, nothing is padded on the left and at the top, while
    torchvision's networks pad one pixel on every side. Weights trained with one lose accuracy with the other. The
    positions of the maps' cells are traced as usual. Layers without stride pad the same way in both.

    Raises:
        UserError: no layer would pad differently.

    >>> from wsl.models import create_backbone
    >>> pad_as_tensorflow(create_backbone("mobilenet_v2", "none")).grids((64, 64)).map
    Grid(stride=32.0, start=31.5)
    """
    net = copy.deepcopy(backbone.net)  # the caller's stays as it is
    layers = [(name, module) for name, module in net.named_modules() if _pads_otherwise(module)]
    if not layers:
        raise UserError(
            f"padding tensorflow: {backbone.name or type(net).__name__} has no strided convolution that pads on every "
            "side: leave it at own (timm has networks of that padding under names such as timm/tf_efficientnet_b0)"
        )
    for name, module in layers:
        net.set_submodule(name, _replaced(module))
    return Backbone(net, backbone.name, backbone.dilated)


def _pads_otherwise(module: nn.Module) -> bool:
    """Whether a module is a strided layer that turns n cells into ceil(n / stride) by equal padding on both sides."""
    if type(module) is nn.Conv2d:
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            return False
    elif type(module) is not nn.MaxPool2d or module.ceil_mode or module.return_indices:
        return False
    assert not isinstance(module.padding, str)
    kernel, stride, padding, dilation = (
        _pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    return any(
        s > 1 and p > 0 and 2 * p == d * (k - 1) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
    )


class TensorFlowConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> TensorFlowConv2d:
        """The same convolution and weights with TensorFlow's padding."""
        padded = copy.copy(conv)
        padded.__class__ = cls
        padded.padding = (0, 0)
        assert isinstance(padded, cls)
        return padded

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """The input with the padding around it."""
        return _padded(x, self.kernel_size, self.stride, self.dilation, 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad and convolve."""
        return super().forward(self.pad(x))


class TensorFlowMaxPool2d(nn.MaxPool2d):
    """A max pool with TensorFlow's "same" padding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad and pool."""
        kernel, stride, dilation = (_pair(value) for value in (self.kernel_size, self.stride, self.dilation))
        return F.max_pool2d(_padded(x, kernel, stride, dilation, -torch.inf), kernel, stride, 0, dilation)


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return TensorFlowConv2d.of(module)
    assert isinstance(module, nn.MaxPool2d)
    return TensorFlowMaxPool2d(module.kernel_size, module.stride, 0, module.dilation)


def _padded(
    x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], fill: float
) -> torch.Tensor:
    around: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        around = [total // 2, total - total // 2, *around]  # the last axis first
    return F.pad(x, around, value=fill)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
