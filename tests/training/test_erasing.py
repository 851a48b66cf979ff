"""Layers that erase features in training: their definition, and where they are inserted."""

import pytest
import torch

from wsl.errors import UserError
from wsl.models import Localizer
from wsl.training.erasing import ADL, insert_eraser


def slow(features, drops: bool, gamma: float):
    """Location by location, image by image."""
    found = features.clone()
    for image in found:
        strength = image.mean(0)
        highest = strength.max()
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                factor = float(strength[row, column] < gamma * highest) if drops else strength[row, column].sigmoid()
                image[:, row, column] *= factor
    return found


@pytest.mark.parametrize(("drop", "gamma"), [(1, 0.9), (1, 0.5), (0, 0.9)])
def test_adl_is_its_definition(drop, gamma):
    torch.manual_seed(0)
    features = torch.randn(3, 5, 4, 6).relu()
    torch.testing.assert_close(ADL(drop, gamma)(features), slow(features, drop == 1, gamma))
    assert torch.equal(ADL(drop, gamma).eval()(features), features)


def test_it_drops_as_often_as_it_is_told_and_once_for_a_batch():
    layer, features = ADL(drop=0.25, gamma=0.5), torch.tensor([1.0, 2, 4]).expand(8, 1, 1, 3)
    torch.manual_seed(0)
    seen = [(layer(features)[:, 0, 0, 2] == 0).tolist() for _ in range(400)]
    assert all(len(set(batch)) == 1 for batch in seen)
    assert sum(batch[0] for batch in seen) / 400 == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("backbone", ["tinynet", "resnet18", "mobilenet_v2"])
def test_a_backbone_erases_in_training_alone(backbone):
    model = Localizer(backbone, 2, weights="none")
    images, names = torch.randn(2, 3, 64, 64), list(model.state_dict())
    grid, expected = model.grid((64, 64)), model.eval()(images).scores
    insert_eraser(model.backbone, "adl(drop=0)")
    calls = []
    for module in model.modules():
        if isinstance(module, ADL):
            module.register_forward_hook(lambda module, *_: calls.append(module.training))
    torch.testing.assert_close(model.eval()(images).scores, expected)
    assert (model.grid((64, 64)), list(model.state_dict())) == (grid, names)
    calls.clear()
    model.train()(images)
    assert calls == [True] * (len(model.backbone.pyramid) + 1)
    assert model.for_inference(torch.device("cpu"), torch.float32)(images).scores.shape == (2, 2)


@pytest.mark.parametrize(
    ("spec", "message"), [("adll", "did you mean 'adl'"), ("adl(gamma=2)", "gamma is 2"), ("adl(drop=2)", "drop is 2")]
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        insert_eraser(Localizer("tinynet", 2, weights="none").backbone, spec)
