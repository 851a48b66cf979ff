"""Where a cell of a feature map looks, by the gradient: the centre of mass of what it depends on.

Networks are made even first. With equal positive weights, and without what depends on the values or looks everywhere
(activations, norms, gates, attention), every receptive field has its centre of mass where its cell lies.
"""

import copy
import re

import numpy as np
import torch
from torch import nn

_POINTWISE = re.compile(
    r"Norm|^ReLU|GELU|SiLU|Swish|Mish|Sigmoid|Tanh|Softmax|Dropout|DropPath|StochasticDepth|LayerScale|Scale2d|^Scale$"
)
_GATES = re.compile(r"Squeeze|^SE|SEModule|SqEx|ECA|Ese|EffectiveSE|GlobalResponseNorm|ECAModule|EcaModule")
_EVERYWHERE = re.compile(r"Attention|Attn|^MSA|SelfAttn")


class _Nothing(nn.Module):
    """Attention that adds nothing."""

    def forward(self, x, *_, **__):
        return x * 0


def even(net: nn.Module) -> nn.Module:
    """A copy with equal weights that only moves and averages what it is given."""
    net = copy.deepcopy(net).eval()
    for name, module in list(net.named_modules()):
        kind = type(module).__name__
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d):
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode)
            net.set_submodule(name, pool)
        elif _POINTWISE.search(kind) and not any(isinstance(m, (nn.Conv2d, nn.Linear)) for m in module.modules()):
            act = getattr(module, "act", None)
            net.set_submodule(name, nn.Identity() if act is None else nn.Sequential())
        elif _GATES.search(kind):
            net.set_submodule(name, nn.Identity())
        elif _EVERYWHERE.search(kind) and "Pool" not in kind:
            net.set_submodule(name, _Nothing())
    return net


def centres(forward, side: int, cells: tuple[int, ...], height: int | None = None) -> list[float]:
    """The columns, in pixels of the image's left edge, that some cells in the middle row of a map depend on.

    `forward` gives the map (N, C, h, w) of images of `side` columns.
    """
    images = torch.full((1, 3, height or side, side), 1e-4, requires_grad=True)  # so little that no ReLU6 is full
    features = forward(images)
    found = []
    for cell in cells:
        total = features[..., features.shape[-2] // 2, cell].sum()
        (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
        weight = gradient.abs().sum((0, 1, 2)).double().numpy()
        assert weight.sum() > 0
        found.append(float((weight * (np.arange(side) + 0.5)).sum() / weight.sum()))
    return found
