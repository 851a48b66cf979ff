"""The poolings that are compared, ours and what people copy."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import heads

Pool = Callable[[Tensor], Tensor]


class Case(NamedTuple):
    name: str
    ours: Pool
    theirs: Pool
    aim: float
    smooth: bool = False


class SortAndScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, k_max: int, k_min: int) -> Tensor:
        batch, channels, height, width = maps.shape
        n = height * width
        ordered, indices = maps.view(batch, channels, n).sort(dim=2, descending=True)
        ctx.k_max, ctx.k_min, ctx.shape = k_max, k_min, maps.shape
        ctx.highest = indices.narrow(2, 0, k_max)
        scores = ordered.narrow(2, 0, k_max).sum(2).div_(k_max)
        if k_min > 0:
            ctx.lowest = indices.narrow(2, n - k_min, k_min)
            scores.add_(ordered.narrow(2, n - k_min, k_min).sum(2).div_(k_min))
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        n = height * width
        spread = gradient.unsqueeze(2).expand(batch, channels, ctx.k_max)
        total = gradient.new_zeros(batch, channels, n).scatter_(2, ctx.highest, spread).div_(ctx.k_max)
        if ctx.k_min > 0:
            spread = gradient.unsqueeze(2).expand(batch, channels, ctx.k_min)
            total.add_(gradient.new_zeros(batch, channels, n).scatter_(2, ctx.lowest, spread).div_(ctx.k_min))
        return total.view(ctx.shape), None, None


def selecting(side: int) -> list[Case]:
    n = side * side
    cases = []
    for k in (1, 10, 0.2, 0.5):
        count = k if isinstance(k, int) else int(k * n)
        cases.append(
            Case(
                f"kmax(k={k})",
                heads.create_pooling(f"kmax(k={k})"),
                lambda maps, count=count: SortAndScatter.apply(maps, count, 0),
                3,
            )
        )
        cases.append(
            Case(
                f"weldon(k_max={k}, k_min={k})",
                heads.create_pooling(f"weldon(k_max={k}, k_min={k})"),
                lambda maps, count=count: SortAndScatter.apply(maps, count, count),
                3,
            )
        )
    return cases


def lse(maps: Tensor, beta: float | Tensor) -> Tensor:
    return (torch.logsumexp(beta * maps.flatten(-2), -1) - math.log(maps.shape[-1] * maps.shape[-2])) / beta


def gem(maps: Tensor, p: float | Tensor) -> Tensor:
    return maps.clamp(min=1e-6).pow(p).mean((-2, -1)).pow(1 / p)


def softpool(maps: Tensor) -> Tensor:
    values = maps.flatten(-2)
    return (values.softmax(-1) * values).sum(-1)


def softpool2d(maps: Tensor, kernel: int) -> Tensor:
    weights = maps.exp()
    return avg_pool2d(weights * maps, kernel, 2) / avg_pool2d(weights, kernel, 2)


def windowed() -> list[Case]:
    return [
        Case(
            f"softpool2d({k}, stride=2)",
            lambda maps, k=k: heads.downsampling.softpool2d(maps, k, 2),
            lambda maps, k=k: softpool2d(maps, k),
            1,
        )
        for k in (2, 3)
    ]


def smooth(device: str = "cpu") -> list[Case]:
    learnt_beta, learnt_p = (torch.tensor(value, device=device, requires_grad=True) for value in (4.0, 3.0))
    return [
        Case("lse(beta=1)", lambda maps: heads.pooling.lse(maps, 1), lambda maps: lse(maps, 1), 1.5, True),
        Case("lse(beta=4)", lambda maps: heads.pooling.lse(maps, 4), lambda maps: lse(maps, 4), 1.5, True),
        Case("lse, learnt", lambda x: heads.pooling.lse(x, learnt_beta), lambda x: lse(x, learnt_beta), 1.5, True),
        Case("gem(p=3)", lambda maps: heads.pooling.gem(maps, 3), lambda maps: gem(maps, 3), 1.5, True),
        Case("gem(p=2.7)", lambda maps: heads.pooling.gem(maps, 2.7), lambda maps: gem(maps, 2.7), 1.5, True),
        Case(
            "gem, learnt", lambda maps: heads.pooling.gem(maps, learnt_p), lambda maps: gem(maps, learnt_p), 1.5, True
        ),
        Case("softpool", heads.pooling.softpool, softpool, 1.5, True),
    ]
