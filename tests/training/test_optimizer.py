"""Who learns how fast, and what decays."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsl.config import OptimConfig
from wsl.models import Localizer
from wsl.training.optimizer import create_optimizer, lr_factor, set_lr


@pytest.fixture(scope="module")
def model() -> Localizer:
    return Localizer("tinynet", 2, weights="none")


def settings_of(optimizer: torch.optim.Optimizer, model: Localizer) -> dict[str, tuple[float, float]]:
    """(learning rate, decay) by parameter name."""
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_every_parameter_has_its_rate_and_its_decay(model, kind):
    config = OptimConfig(optimizer=kind, lr=0.5, weight_decay=0.01)
    found = settings_of(create_optimizer(model, config), model)
    assert found.keys() == dict(model.named_parameters()).keys()
    norms = {f"backbone.net.{name}" for name, m in model.backbone.net.named_modules() if "Norm" in type(m).__name__}
    for name, (lr, decay) in found.items():
        assert lr == pytest.approx(0.5 if name.startswith("head.") else 0.05), name
        free = name.endswith(".bias") or name.rpartition(".")[0] in norms
        assert decay == (0 if free else 0.01), name


@pytest.mark.parametrize("config", [OptimConfig(freeze_backbone=True), OptimConfig(backbone_lr_factor=0.0)])
def test_a_backbone_that_does_not_learn_is_left_out(model, config):
    found = settings_of(create_optimizer(model, config), model)
    assert found
    assert all(name.startswith("head.") for name in found)


def test_decay_shrinks_weights_and_leaves_biases(model):
    optimizer = create_optimizer(model, OptimConfig(optimizer="sgd", lr=1.0, weight_decay=0.5))
    conv = model.head.conv
    weight, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
    optimizer.zero_grad()
    conv.weight.grad, conv.bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    optimizer.step()
    assert conv.weight.abs().sum() < weight.abs().sum()
    assert torch.equal(conv.bias, bias)


@given(st.integers(1, 300), st.data(), st.sampled_from(["cosine", "step", "constant"]))
def test_the_rate_rises_to_its_peak_and_never_again(steps, data, schedule):
    warmup = data.draw(st.integers(0, steps))
    factors = [lr_factor(step, steps, warmup, schedule) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == [(step + 1) / warmup for step in range(warmup)]
    assert all(later <= earlier for earlier, later in zip(factors[warmup:], factors[warmup + 1 :], strict=False))


def test_cosine_is_half_a_cosine_and_step_falls_at_two_thirds_and_eight_ninths():
    assert [lr_factor(s, 90, 0, "cosine") for s in range(90)] == pytest.approx(
        [(1 + math.cos(math.pi * s / 90)) / 2 for s in range(90)]
    )
    assert [round(lr_factor(s, 90, 0, "step"), 9) for s in (0, 59, 60, 79, 80, 89)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_set_lr_scales_each_group_s_own_peak(model):
    optimizer = create_optimizer(model, OptimConfig(lr=0.1, backbone_lr_factor=0.5))
    for factor in (0.5, 0.25):  # of the peak, not of what was set before
        assert set_lr(optimizer, factor) == pytest.approx(0.1 * factor)
    assert sorted({round(group["lr"], 9) for group in optimizer.param_groups}) == [0.0125, 0.025]
