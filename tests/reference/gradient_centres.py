"""Where a cell of a feature map looks, by the gradient: the centre of mass of what it depends on.

Networks are made even first. With equal positive weights, and without what depends on the values or looks everywhere
(activations, norms, gates, attention), every receptive field has its centre of mass where its cell lies, as far as the
image's edges do not cut it off.
"""

import copy
import re
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from wsl.models import Backbone

_POINTWISE = re.compile(
    r"Norm|ReLU|GELU|SiLU|Swish|Mish|Tanh|Softmax|Drop|StochasticDepth|LayerScale|Scale2d|^Scale|Affine"
)
_GATES = re.compile(r"Squeeze|^SE|SqEx|ECA|Ese|EffectiveSE|ResponseNorm|Eca")
_EVERYWHERE = re.compile(r"Attention|Attn|^MSA")


class _Nothing(nn.Module):
    """Attention that adds nothing."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def __getattr__(self, name):
        return super().__getattr__(name) if name == "attention" else getattr(self.attention, name)

    def forward(self, *args, **options):
        return pytree.tree_map_only(torch.Tensor, torch.zeros_like, self.attention(*args, **options))


def even(net: nn.Module) -> nn.Module:
    """A copy with equal weights that only moves and averages what it is given."""
    net = copy.deepcopy(net).eval()
    for name, module in list(net.named_modules()):
        kind, weighty = type(module).__name__, any(isinstance(m, (nn.Conv2d, nn.Linear)) for m in module.modules())
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            # torch's and timm's, whose padding depends on the size.
            same = __import__("timm.layers").layers.AvgPool2dSame if kind.endswith("Same") else nn.AvgPool2d
            settings = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
            net.set_submodule(name, same(*settings, count_include_pad=True))
        elif (_POINTWISE.search(kind) and not weighty) or _innermost(module, _GATES):
            net.set_submodule(name, nn.Identity())
        elif _innermost(module, _EVERYWHERE) and "Pool" not in kind:
            net.set_submodule(name, _Nothing(module))
    return net


def _mean_of_window(images, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    assert dilation == 1
    assert not return_indices
    return F.avg_pool2d(images, kernel_size, stride, padding, ceil_mode)


def _innermost(module: nn.Module, kinds: re.Pattern[str]) -> bool:
    """Whether a module is of these kinds, and not a block around one."""
    return [bool(kinds.search(type(one).__name__)) for one in module.modules()].count(True) == 1 and bool(
        kinds.search(type(module).__name__)
    )


def centre(backbone: Backbone, height: int, width: int, cell: int) -> float:
    """The column, in pixels from the left edge, that a cell in the map's middle row depends on."""
    twin = copy.deepcopy(backbone).eval()
    twin.net = even(backbone.net)
    images = torch.full((1, 3, height, width), 1e-4, requires_grad=True)  # so little that no ReLU6 is full
    with patch.object(F, "max_pool2d", _mean_of_window):
        features = twin(images)
    features[..., features.shape[-2] // 2, cell].sum().backward()
    weight = images.grad.abs().sum((0, 1, 2)).double().numpy()
    assert weight.sum() > 0
    return float((weight * (np.arange(width) + 0.5)).sum() / weight.sum())
