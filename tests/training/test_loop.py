"""One epoch: what it does to the weights, and how it ends when numbers or images go wrong."""

import copy

import pytest
import torch
from torch import nn

from heads import MapClassifier
from wsl.config import OptimConfig
from wsl.errors import RunError
from wsl.models import Localizer
from wsl.training.loop import EpochStats, Position, run_epoch
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import binary_cross_entropy, create_objective
from wsl.training.optimizer import create_optimizer
from wsl.training.step import Stepper

CPU = torch.device("cpu")


def batches(count: int = 3, size: int = 4) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    return [
        Example(
            torch.randn(size, 8, 3, 3, generator=generator),
            (torch.rand(size, 2, generator=generator) < 0.5).float(),
            torch.ones(size, 2),
            torch.arange(size),
            size,
        )
        for _ in range(count)
    ]


def scaled(examples: list[Example], factor: float) -> list[Example]:
    return [example._replace(inputs=example.inputs * factor) for example in examples]


@pytest.fixture
def head() -> MapClassifier:
    torch.manual_seed(0)
    return MapClassifier(8, 2, pooling="gap")


class Whole(nn.Module):
    """A head that stands for a localizer on kept features."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head, self.classify = head, lambda features, attention: head(features)


def stepper_of(network, config, dtype=torch.float32, optimizer=None, scaler=None, objective="bce") -> Stepper:
    features = not isinstance(network, Localizer)
    model = Whole(network) if features else network
    trained = TrainedNetwork(model, create_objective(objective), dtype, features=features)
    optimizer = optimizer or torch.optim.SGD([{"params": list(network.parameters()), "lr": 0.1, "peak_lr": config.lr}])
    stepper = Stepper(trained, optimizer, config, dtype=dtype)
    stepper.scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    return stepper


def run(network, config, data, seen=None, **kwargs) -> EpochStats:
    seen = [] if seen is None else seen
    return run_epoch(
        stepper_of(network, config, **kwargs), data, epoch=1, steps=len(data) or 1, position=Position(),
        advance=lambda count=1, *, note=None: seen.append(count),
    )  # fmt: skip


CONSTANT = OptimConfig(epochs=1, lr=0.1, schedule="constant", warmup_epochs=0)


def test_cudnn_adds_up_in_one_order_and_is_left_as_it_was(head, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    seen = []
    run_epoch(
        stepper_of(head, CONSTANT), batches(), epoch=1, steps=3, position=Position(),
        advance=lambda *_, **__: seen.append(torch.backends.cudnn.deterministic),
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
    data = [Example(images, torch.ones(4, 2), torch.ones(4, 2), torch.arange(4), 4)] * 3
    run(model, config, data, optimizer=create_optimizer(model, config))
    with torch.no_grad():
        expected = model.eval()(images).scores
    torch.testing.assert_close(model.for_inference(CPU, torch.float32)(images).scores, expected)


def test_an_epoch_is_gradient_descent_written_out(head):
    slow, data, losses, seen = copy.deepcopy(head), batches(), [], []
    stats = run(head, CONSTANT, data, seen=seen)
    for inputs, targets, known, _, _ in data:
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
    run(head, CONSTANT, scaled(batches(1), 100), scaler=scaler)
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
    run(head, config, scaled(batches(1), 50))
    moved = torch.cat([p.detach().flatten() for p in head.parameters()]) - before
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_try(head, bad):
    data = batches()
    data[bad].inputs[0, 0] = torch.nan
    with pytest.raises(RunError, match=rf"nan in epoch 1, step {bad + 1}, at --lr 0\.1.*--clip-norm"):
        run(head, CONSTANT, data)


def test_a_last_step_that_ruins_the_weights_is_noticed_though_its_loss_was_finite(head):
    with torch.no_grad():
        head.conv.weight[0, 0, 0, 0] = 1.0
    head.conv.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(RunError, match="a weight"):
        run(head, CONSTANT, batches(1))


def test_no_batch_at_all_is_an_error(head):
    for nothing in ([], [example._replace(mask=0 * example.mask, images=0) for example in batches()]):
        with pytest.raises(RunError, match="no readable image"):
            run(head, CONSTANT, nothing)


@pytest.mark.parametrize("accumulate", [2, 3, 4, 9])
@pytest.mark.parametrize("objective", ["bce", "soft-margin", "cross-entropy + recam(weight=0.3)"])
def test_a_batch_in_parts_is_the_same_step(accumulate, objective):
    """Also where what is known is spread unevenly over the parts, and a term is divided by something else."""
    data, ends = batches(), []
    for example in data:
        example.mask[torch.rand(4, 2, generator=torch.Generator().manual_seed(1)) < 0.4] = 0
    for parts in (1, accumulate):
        torch.manual_seed(0)
        head = MapClassifier(8, 2)
        network = nn.ModuleList([head])
        config = OptimConfig(epochs=1, lr=0.1, warmup_epochs=0, accumulate=parts)
        trained = TrainedNetwork(Whole(head), create_objective(objective, classes=2, channels=8), torch.float32,
                                 features=True)  # fmt: skip
        parameters = list(trained.parameters())
        stepper = Stepper(trained, torch.optim.SGD([{"params": parameters, "lr": 0.1, "peak_lr": 0.1}]), config)
        stats = run_epoch(stepper, data, epoch=1, steps=3, position=Position(), advance=lambda *_, **__: None)
        ends.append((stats.loss, *(p.detach().clone() for p in network.parameters())))
    torch.testing.assert_close(ends[0], ends[1])


def test_balanced_weights_of_pairs_are_a_weighted_mean(head):
    """A present pair of weight 3 counts as three."""
    (example,) = batches(1)
    stepper = stepper_of(head, CONSTANT)
    stepper.network.pair_weights = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    losses = nn.functional.binary_cross_entropy_with_logits(
        head(example.inputs).scores, example.targets, reduction="none"
    )
    weights = 1 + 2 * example.targets
    expected = (losses * weights).sum() / weights.sum()
    loss, _ = stepper(example, 0, 0.0)
    torch.testing.assert_close(loss, expected.detach())


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_is_that_of_the_weights_after_each_step(head, decay):
    config = OptimConfig(epochs=1, lr=0.1, warmup_epochs=0, schedule="constant", ema=decay)
    stepper, seen = stepper_of(head, config), [head.conv.weight.detach().clone()]
    for number, example in enumerate(batches(5)):
        stepper(example, number, 0.0)
        seen.append(head.conv.weight.detach().clone())
    expected = seen[0]
    for step, weight in enumerate(seen[1:]):
        now = min(decay, (1 + step) / (10 + step))
        expected = now * expected + (1 - now) * weight
    with stepper.average.applied():
        torch.testing.assert_close(head.conv.weight.detach(), expected)
    assert torch.equal(head.conv.weight, seen[-1])


def test_what_a_step_draws_at_random_follows_from_its_number(head):
    """Whatever was drawn before: a run that is continued has drawn nothing yet."""
    noisy, losses = nn.Sequential(nn.Dropout(0.5), head), []
    (example,) = batches(1)
    for number, before in ((7, 0), (7, 100), (8, 0)):
        torch.rand(before)
        losses.append(float(stepper_of(copy.deepcopy(noisy), CONSTANT)(example, number, 0.0)[0]))
    assert losses[0] == losses[1] != losses[2]


def test_a_batch_of_one_trains_unless_batch_norm_is_left_with_a_single_value():
    def step(side: int) -> EpochStats:
        model = Localizer("tinynet", 2, weights="none").train()
        config = OptimConfig(epochs=1)
        data = [Example(torch.randn(1, 3, side, side), torch.tensor([[1.0, 0]]), torch.ones(1, 2), torch.zeros(1), 1)]
        return run(model, config, data, optimizer=create_optimizer(model, config))

    assert step(16).images == 1
    with pytest.raises(RunError, match=r"batch of 1 .*--batch-size"):
        step(8)
