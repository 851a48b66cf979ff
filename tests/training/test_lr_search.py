"""The learning-rate search: its rule by hand, the same numbers again, and nothing left behind."""

import json
import math

import pytest
import torch

from heads import MapClassifier
from wsl import cli
from wsl.config import OptimConfig
from wsl.training.lr_search import search_lr, smooth, suggest, sweep
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.step import Stepper


class Whole(torch.nn.Module):
    """A head that stands for a localizer on kept features."""

    def __init__(self, head) -> None:
        super().__init__()
        self.head, self.classify = head, lambda features, attention: head(features)


def stepper(lr=0.05) -> Stepper:
    torch.manual_seed(0)
    network = TrainedNetwork(Whole(MapClassifier(4, 2)), create_objective("bce"), torch.float32, features=True)
    groups = [{"params": list(network.parameters()), "lr": lr, "peak_lr": lr}]
    return Stepper(network, torch.optim.SGD(groups), OptimConfig(lr=lr))


def batches(scale=1.0, contradict=False):
    torch.manual_seed(1)
    targets = torch.tensor([[1.0, 0], [0, 1]])
    features = scale * torch.randn(2, 4, 3, 3)
    while True:
        yield Example(features, targets, torch.ones(2, 2), torch.arange(2), 2)
        targets = 1 - targets if contradict else targets


def advance(count, note=None):
    """Progress that nobody watches."""


def test_a_step_is_taken_at_each_rate_whatever_the_settings_say():
    found = search_lr(stepper(lr=0.05), batches(), 12, advance)
    assert found.rates == tuple(sweep(12))
    network = stepper().network
    features, (example, *_) = network, [next(batches())]
    for rate, loss in zip(found.rates, found.losses, strict=True):
        value = (features(example) / 4).sum()
        assert value.item() == pytest.approx(loss, rel=1e-5)
        network.zero_grad()
        value.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= rate * parameter.grad
    assert found.smoothed == tuple(smooth(found.losses))
    assert found.suggestion == suggest(found.rates, found.smoothed)
    assert search_lr(stepper(lr=0.3), batches(), 12, advance).losses == pytest.approx(found.losses)


def test_the_smoothed_loss_is_a_weighted_mean_of_all_before():
    losses = [3.0, 1.0, 2.0]
    weights = [0.9**2, 0.9, 1.0]
    assert smooth(losses)[-1] == pytest.approx(sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights))


def test_it_ends_where_the_loss_diverges():
    found = search_lr(stepper(), batches(scale=20.0, contradict=True), 60, advance)
    assert len(found.rates) < 60
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert all(map(math.isfinite, found.losses))


@pytest.mark.parametrize(
    ("smoothed", "expected"),
    [([0.7, 0.5, 0.6], 0.01), ([0.7, 0.7, 0.7], None), ([0.5, 0.6, 0.7], None), ([], None), ([0.7, 0.6, 0.5], 0.1)],
)
def test_the_rule(smoothed, expected):
    assert suggest([0.01, 0.1, 1.0][: len(smoothed)], smoothed) == (pytest.approx(expected) if expected else None)


@pytest.fixture
def command(train_flags):
    return lambda out, *more: train_flags(out, "--find-lr", *more)


@pytest.mark.parametrize("more", [(), ("--freeze-backbone", "--pooling", "gap", "gmp"), ("--ema", "0.9")], ids=str)
@pytest.mark.quick("more", [("--freeze-backbone", "--pooling", "gap", "gmp")])
def test_the_command_says_the_same_again_and_leaves_a_plot_alone(command, tmp_path, capsys, more):
    found = []
    for name in ("a", "b"):
        out = tmp_path / name / "run"
        out.parent.mkdir()
        assert cli.train([*command(out, *more), "--find-lr-steps", "7", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
        left = [path for path in out.rglob("*") if path.is_file() and path.parent.name != ".features"]
        assert {path.name for path in left} == {"lr_search.png"}
    runs = [one.get("runs", [one]) for one in found]
    assert all(len(run["rates"]) == 7 for run in runs[0])
    assert [run["losses"] for run in runs[0]] == [run["losses"] for run in runs[1]]


def test_the_state_is_as_before(command, tmp_path, monkeypatch):
    from wsl.training.learner import Learner

    states, own = [], Learner.search_lr

    def watched(self, *args):
        states.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        found = own(self, *args)
        states.append(self.state_dict())
        return found

    monkeypatch.setattr(Learner, "search_lr", watched)
    assert cli.train(command(tmp_path / "run", "--find-lr-steps", "3")) == 0
    before, after = states
    assert all(torch.equal(before[name], tensor) for name, tensor in after["model"].items())
    assert not after["optimizer"]["state"]


def test_the_table_says_what_to_take(command, tmp_path, capsys):
    assert cli.train(command(tmp_path / "run", "--find-lr-steps", "20")) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "learning rate    loss  smoothed"
    assert len(said) == 13
    assert said[-2].startswith(("suggested: --lr ", "no suggestion"))


def test_mistakes_are_one_line_and_exit_code_2(command, tmp_path, capsys):
    flags = command(tmp_path / "run")
    for more, message in (
        (["--freeze-backbone", "--optimizer", "lbfgs"], "lbfgs, which has no learning rate"),
        (["--find-lr-steps", "1"], "find lr steps is 1, expected 2 or more"),
        (["--weights", "lost.pth"], "no weights at lost.pth: expected"),
    ):
        assert cli.train([*flags, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_images_that_cannot_be_read_give_no_search(samples, command, tmp_path, capsys):
    for one in samples.samples:
        one.path.write_bytes(b"no picture")
    assert cli.train(command(tmp_path / "run", "--find-lr-steps", "3")) == 1
    assert "no image of these steps could be read" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "lr_search.png").exists()
