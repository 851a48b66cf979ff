"""Training a head of two classifiers: its loss by hand, what is erased of which image, and what does not go with it."""

import pytest
import torch

from heads import HeadOutput
from wsl.config import ModelConfig, OptimConfig, Preprocessing
from wsl.errors import UserError
from wsl.models import Localizer, create, load, save
from wsl.models.create_head import HEADS
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import BCE, create_objective
from wsl.training.step import Stepper

CLASSES = ("cat", "dog", "cow")


def network(loss="bce", head="acol(threshold=0.6, hidden=8)", features=False) -> TrainedNetwork:
    torch.manual_seed(0)
    model = Localizer("tinynet", classes=CLASSES, head=head, weights="none")
    objective = create_objective(loss, classes=3, channels=model.backbone.out_channels)
    return TrainedNetwork(model, objective, torch.float32, features=features)


def example(inputs) -> Example:
    targets = torch.tensor([[1.0, 0, 0.25], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    return Example(inputs, targets, mask, torch.arange(4), 3)


@pytest.mark.parametrize("features", [False, True])
def test_the_loss_is_that_of_both_classifiers(features):
    trained = network(features=features).train()
    shown = torch.randn(4, 128, 5, 5) if features else torch.randn(4, 3, 40, 40)
    batch = example(shown)
    found = trained(batch)
    seen = shown if features else trained.model.backbone(shown)
    # Known and above 0: the mixture's second class too, the unknown dog of the second image not.
    present = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    outputs = trained.model.head.both(seen, present)
    expected = sum(BCE().total(output, batch.targets, batch.mask, None) for output in outputs)
    torch.testing.assert_close(found, expected[None])


def test_a_step_divides_the_sum_of_both_by_the_pairs_once():
    trained = network(features=True)
    batch = example(torch.randn(4, 128, 5, 5))
    first, second = trained.model.head.both(batch.inputs, (batch.targets > 0) & (batch.mask > 0))
    expected = sum(BCE()(HeadOutput(*one), batch.targets, batch.mask) for one in (first, second))
    stepper = Stepper(trained, torch.optim.SGD(trained.model.head.parameters(), lr=0.1), OptimConfig())
    loss, _ = stepper(batch, 0, 0.0)
    torch.testing.assert_close(loss, expected)


def test_an_image_that_only_fills_the_batch_has_no_part_in_it():
    trained = network(features=True)
    shown = torch.randn(4, 128, 5, 5)
    other = shown.clone()
    other[2] = 100 * torch.randn(128, 5, 5)
    torch.testing.assert_close(trained(example(shown)), trained(example(other)))


@pytest.mark.parametrize("loss", ["bce + recam", "bce + equivariance", "bce + puzzle"])
def test_terms_of_class_maps_are_refused(loss):
    with pytest.raises(UserError, match=r"reads the class maps of one classifier, but --head acol\(.*\) has two"):
        network(loss)


@pytest.mark.parametrize(
    ("head", "pooling", "message"),
    [
        ("acoll", "gap", "unknown head 'acoll': did you mean 'acol'"),
        ("acol(threshold=2)", "gap", "threshold is 2"),
        ("acol", "netvlad", "head 'acol' pools class maps, and netvlad has none"),
        ("scm(threshold=2)", "gap", "head 'scm' has no argument 'threshold': expected none"),
        ("acol(hidden=1000000)", "gap", "expected 4.29 at most: give it smaller numbers"),
    ],
)
def test_mistakes_are_named(head, pooling, message):
    with pytest.raises(UserError, match=message):
        Localizer("tinynet", 2, head=head, pooling=pooling, weights="none")


def test_the_settings_know_the_names_of_all_heads():
    assert [ModelConfig(head=name).head_name for name in HEADS] == list(HEADS)
    with pytest.raises(UserError, match="unknown head 'acool': did you mean 'acol'"):
        ModelConfig(head="acool(threshold=0.7)")


def test_a_saved_head_is_the_same_and_another_run_goes_on_from_it(tmp_path):
    model = network().model.eval()
    save(model, tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 40, 40)
    for got, expected in zip(load(tmp_path)(images), model(images), strict=True):
        assert torch.equal(got, expected)
    settings = ModelConfig(backbone="tinynet", weights=str(tmp_path), head="acol(threshold=0.8, hidden=8)")
    again = create(settings, CLASSES, Preprocessing())
    assert torch.equal(again.head.second[0].weight, model.head.second[0].weight)
    assert again.head.threshold == 0.8
    output = model.for_inference(torch.device("cpu"), torch.float32)(images)
    torch.testing.assert_close(
        output.maps_of(torch.tensor([[2, 0], [1, 1]])), model(images).maps[[[0], [1]], [[2, 0], [1, 1]]]
    )
