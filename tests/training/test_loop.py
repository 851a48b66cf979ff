"""One epoch: what it does to the weights, and how it ends when numbers or images go wrong."""

import copy

import pytest
import torch

from heads import MapClassifier
from wsl.config import OptimConfig
from wsl.errors import RunError
from wsl.models import Localizer
from wsl.training.loop import EpochStats, run_epoch
from wsl.training.losses import binary_cross_entropy
from wsl.training.optimizer import create_optimizer

CPU = torch.device("cpu")


def batches(count: int = 3, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, 8, 3, 3, generator=generator),
            (torch.rand(size, 2, generator=generator) < 0.5).float(),
            torch.ones(size, 2),
        )
        for _ in range(count)
    ]


@pytest.fixture
def head() -> MapClassifier:
    torch.manual_seed(0)
    return MapClassifier(8, 2, pooling="gap")


def run(network, config, data, dtype=torch.float32, scaler=None, optimizer=None, **kwargs) -> EpochStats:
    optimizer = optimizer or torch.optim.SGD([{"params": list(network.parameters()), "lr": 0.1, "peak_lr": config.lr}])
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    seen = kwargs.pop("seen", [])
    return run_epoch(
        network, optimizer, scaler, data, config, device=CPU, dtype=dtype, epoch=1, steps=len(data) or 1,
        advance=lambda count=1, *, note=None: seen.append(count),
    )  # fmt: skip


CONSTANT = OptimConfig(epochs=1, lr=0.1, schedule="constant", warmup_epochs=0)


def test_cudnn_adds_up_in_one_order_and_is_left_as_it_was(head, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    optimizer, seen = torch.optim.SGD([{"params": list(head.parameters()), "lr": 0.1, "peak_lr": 0.1}]), []
    run_epoch(
        head, optimizer, torch.amp.GradScaler("cpu", enabled=False), batches(), CONSTANT, device=CPU,
        dtype=torch.float32, epoch=1, steps=3, advance=lambda *_, **__: seen.append(torch.backends.cudnn.deterministic),
    )  # fmt: skip
    assert seen == [True] * 3
    assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_after_an_epoch_inference_is_that_of_the_new_weights(optimizer):
    """Also where no batch norm shows that something has changed."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=8), torch.nn.ReLU())
    model, images = Localizer(net, 2, weights="none"), torch.randn(4, 3, 64, 64)
    config = OptimConfig(epochs=1, lr=0.1, optimizer=optimizer)
    model.for_inference(CPU, torch.float32)
    run(model, config, [(images, torch.ones(4, 2), torch.ones(4, 2))] * 3, optimizer=create_optimizer(model, config))
    with torch.no_grad():
        expected = model.eval()(images).scores
    torch.testing.assert_close(model.for_inference(CPU, torch.float32)(images).scores, expected)


def test_an_epoch_is_gradient_descent_written_out(head):
    slow, data, losses, seen = copy.deepcopy(head), batches(), [], []
    stats = run(head, CONSTANT, data, seen=seen)
    for inputs, targets, known in data:
        loss = binary_cross_entropy(slow(inputs).scores, targets, known)
        gradients = torch.autograd.grad(loss, list(slow.parameters()))
        losses.append(loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(slow.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    torch.testing.assert_close(head.state_dict(), slow.state_dict())
    assert stats.loss == pytest.approx(sum(losses) / 3)
    assert stats.images == sum(seen) == 12
    assert stats.lr == pytest.approx(0.1)


@pytest.mark.parametrize("clip", [None, 0.05])
def test_loss_scaling_is_undone_before_the_step_and_before_clipping(head, clip):
    """A scale that is a power of two changes no bit of float32."""
    plain, config = copy.deepcopy(head), OptimConfig(epochs=1, lr=0.1, warmup_epochs=0, clip_norm=clip)
    run(plain, config, batches())
    run(head, config, batches(), scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), plain.parameters(), strict=True))


def test_a_step_whose_scaled_gradients_overflow_is_left_out(head):
    before, scaler = copy.deepcopy(head.state_dict()), torch.amp.GradScaler("cpu", init_scale=2.0**127)
    big = [(inputs * 100, *known) for inputs, *known in batches(1)]
    run(head, CONSTANT, big, scaler=scaler)
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    assert scaler.get_scale() == 2.0**126


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_learns_nearly_the_same(head, dtype):
    plain = copy.deepcopy(head)
    run(plain, CONSTANT, batches())
    run(head, CONSTANT, batches(), dtype=dtype)
    torch.testing.assert_close(head.state_dict(), plain.state_dict(), rtol=0.02, atol=0.01)
    assert all(p.dtype == torch.float32 for p in head.parameters())


def test_clipping_bounds_the_step(head):
    before = torch.cat([p.detach().flatten().clone() for p in head.parameters()])
    config = OptimConfig(epochs=1, lr=1.0, schedule="constant", warmup_epochs=0, clip_norm=0.01)
    run(head, config, [(inputs * 50, *known) for inputs, *known in batches(1)])
    moved = torch.cat([p.detach().flatten() for p in head.parameters()]) - before
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_try(head, bad):
    data = batches()
    data[bad][0][0, 0] = torch.nan
    with pytest.raises(RunError, match=r"nan in epoch 1, by step 3, at --lr 0\.1.*--clip-norm"):
        run(head, CONSTANT, data)


def test_a_last_step_that_ruins_the_weights_is_noticed_though_its_loss_was_finite(head):
    with torch.no_grad():
        head.conv.weight[0, 0, 0, 0] = 1.0
    head.conv.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(RunError, match="a weight"):
        run(head, CONSTANT, batches(1))


def test_no_batch_at_all_is_an_error(head):
    with pytest.raises(RunError, match="no readable image"):
        run(head, CONSTANT, [])


def test_a_batch_of_one_trains_unless_batch_norm_is_left_with_a_single_value():
    def step(side: int) -> EpochStats:
        model = Localizer("tinynet", 2, weights="none").train()
        config = OptimConfig(epochs=1)
        data = [(torch.randn(1, 3, side, side), torch.tensor([[1.0, 0]]), torch.ones(1, 2))]
        return run(model, config, data, optimizer=create_optimizer(model, config))

    assert step(16).images == 1
    with pytest.raises(RunError, match=r"batch of 1 .*--batch-size"):
        step(8)
