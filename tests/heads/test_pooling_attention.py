"""Attention and CSRA: what they are beside their maps, and in a head."""

import math

import pytest
import torch

import heads
from heads import MapClassifier
from heads.pooling import CSRA, Attention, attention, csra, gap


def random_maps(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def row(conv, j, location):
    """Output j of a 1x1 convolution at one location."""
    weights = conv.weight[j].flatten().tolist()
    return conv.bias[j].item() + sum(w * f for w, f in zip(weights, location, strict=True))


def slow_attention(module, features):
    """The paper's equations for one image, location by location."""
    _, height, width = features.shape
    logits = []
    for location in features.flatten(1).T.tolist():
        total = module.score.bias.item()
        for j in range(module.hidden):
            gate = 1 / (1 + math.exp(-row(module.gate, j, location))) if module.gate is not None else 1
            total += module.score.weight[0, j].item() * math.tanh(row(module.content, j, location)) * gate
        logits.append(total)
    weights = [math.exp(logit) for logit in logits]
    return torch.tensor(weights).reshape(height, width) / sum(weights)


@pytest.mark.parametrize("gated", [True, False])
def test_attention_is_the_papers(gated):
    torch.manual_seed(0)
    module = Attention(hidden=4, channels=8, gated=gated)
    features, maps = random_maps(2, 8, 3, 4), random_maps(2, 5, 3, 4, seed=1)
    scores, weights = module(maps, features), module.weights(maps, features)
    for i in range(2):
        expected = slow_attention(module, features[i])
        torch.testing.assert_close(weights[i], expected.expand(5, 3, 4))
        torch.testing.assert_close(scores[i], (expected * maps[i]).sum((-2, -1)))


def test_attending_in_maps_is_attending_before_a_linear_classifier():
    """The paper pools features and classifies; the head classifies and pools."""
    torch.manual_seed(0)
    head = MapClassifier(8, 5, pooling="attention(hidden=4)")
    features = random_maps(2, 8, 7, 6)
    weights = head.pooling.weights(features, features)
    pooled = (weights * features).sum((-2, -1))
    expected = pooled @ head.conv.weight[:, :, 0, 0].T + head.conv.bias
    torch.testing.assert_close(head(features).scores, expected)
    assert repr(head.pooling) == "attention(hidden=4, channels=8)"
    torch.testing.assert_close(head(features[0]).scores, expected[0])


def test_given_logits_weigh_each_map_or_all():
    maps = random_maps(2, 3, 4, 5)
    torch.testing.assert_close(attention(maps, torch.zeros(2, 1, 4, 5)), gap(maps))
    torch.testing.assert_close(attention(maps, maps), heads.pooling.softpool(maps))
    with pytest.raises(ValueError, match=r"logits have shape \(2, 2, 4, 5\) for maps of \(2, 3, 4, 5\)"):
        attention(maps, torch.zeros(2, 2, 4, 5))


def test_features_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"features have shape \(2, 5, 4, 4\), expected 8 channels.* channels=5"):
        Attention(channels=8)(torch.ones(2, 5, 4, 4))
    with pytest.raises(ValueError, match=r"channels is 'auto', which only a head can fill in"):
        heads.create_pooling("attention")
    with pytest.raises(ValueError, match="hidden is 0, expected 1 or more"):
        Attention(0, channels=8)
    with pytest.raises(TypeError, match="gated is 1, expected True or False"):
        Attention(channels=8, gated=1)


def test_csra_of_one_map_is_the_papers():
    maps = random_maps(2, 3, 7, 6, dtype=torch.float64)
    flat = maps.flatten(-2)
    for t in (1, 2, 4):
        attended = ((t * flat).softmax(-1) * flat).sum(-1)
        torch.testing.assert_close(csra(maps, (t,), 0.3), flat.mean(-1) + 0.3 * attended)
    torch.testing.assert_close(csra(maps, (99,), 0.3), flat.mean(-1) + 0.3 * flat.amax(-1))
    torch.testing.assert_close(csra(maps, lam=0), gap(maps))
    for number, temperatures in {2: (1, 99), 4: (1, 2, 4, 99), 6: (1, 2, 3, 4, 5, 99)}.items():
        torch.testing.assert_close(csra(maps, number), csra(maps, temperatures))
    assert CSRA(8).branches == 8


@pytest.mark.parametrize("maps_per_class", [1, 2])
def test_a_csra_head_is_the_authors_code(maps_per_class):
    """A convolution of norm 1 for each temperature, and the sum of their scores."""
    torch.manual_seed(0)
    head = MapClassifier(8, 5, pooling="csra(heads=4, lam=0.5)", maps_per_class=maps_per_class)
    features = random_maps(2, 8, 7, 6)
    weights = head.conv.weight.reshape(4, 5, maps_per_class, 8)
    total, maps = 0, 0
    for weight, t in zip(weights, (1, 2, 4, 99), strict=True):
        direction = weight / weight.norm(dim=-1, keepdim=True)
        score = torch.einsum("kmd,ndhw->nkmhw", direction, features).mean(2).flatten(-2)
        attended = score.amax(-1) if t == 99 else ((t * score).softmax(-1) * score).sum(-1)
        total, maps = total + score.mean(-1) + 0.5 * attended, maps + score.unflatten(-1, (7, 6))
    output = head(features)
    torch.testing.assert_close(output.scores, total)
    torch.testing.assert_close(output.maps, maps)
    torch.testing.assert_close(head(features[1]).scores, total[1])
    assert list(head.state_dict()) == ["conv.weight"]
    with torch.no_grad():
        head.conv.weight.mul_(7)
    torch.testing.assert_close(head(features).scores, total)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"heads": 3}, ValueError, r"heads is 3, expected 1, 2, 4, 6 or 8, or a tuple of temperatures"),
        ({"heads": ()}, ValueError, "heads is empty, expected 1, 2, 4"),
        ({"heads": (-1,)}, ValueError, "temperature is -1.0, expected a sharpness of 0 or more"),
        ({"heads": 1.5}, TypeError, "heads is 1.5, expected"),
        ({"heads": True}, TypeError, "heads is True, expected"),
        ({"lam": -0.1}, ValueError, "lam is -0.1, expected the attention's weight"),
        ({"lam": math.inf}, ValueError, "lam is inf, expected the attention's weight"),
        ({"lam": math.nan}, ValueError, "lam is nan, expected a number"),
    ],
)
def test_csra_without_meaning_is_refused(arguments, error, message):
    for make in (CSRA, lambda **given: csra(torch.ones(1, 2, 2), **given)):
        with pytest.raises(error, match=message):
            make(**arguments)
