"""What must hold for a linear layer after global average pooling, without any library to compare with."""

import pytest
import torch

from wsl.cam.finercam import finer_coefficients, finer_targets
from wsl.cam.gradcam import gradcam
from wsl.cam.gradcampp import gradcampp
from wsl.cam.hirescam import hirescam
from wsl.cam.layercam import layercam
from wsl.cam.xgradcam import xgradcam

N, C, K, H, W = 3, 6, 5, 4, 7
S = H * W


@pytest.fixture
def linear():
    """Activations, the layer's weights and its bias."""
    generator = torch.Generator().manual_seed(0)
    activations = torch.randn(N, C, H, W, generator=generator, dtype=torch.float64).relu()
    weights = torch.randn(K, C, generator=generator, dtype=torch.float64)
    return activations, weights, torch.randn(K, generator=generator, dtype=torch.float64)


def gradients_of(target, activations):
    """By autograd, one class after the other, (J, N, C, h, w)."""
    leaf = activations.clone().requires_grad_()
    return torch.stack([torch.autograd.grad(one.sum(), leaf, retain_graph=True)[0] for one in target(leaf).unbind(1)])


def class_activation_maps(activations, weights):
    return torch.einsum("kc,nchw->knhw", weights, activations)


@pytest.mark.parametrize("method", [gradcam, hirescam, xgradcam])
def test_these_are_the_class_activation_map_over_the_locations(method, linear):
    activations, weights, bias = linear
    gradients = gradients_of(lambda x: x.mean((2, 3)) @ weights.T + bias, activations)
    expected = class_activation_maps(activations, weights) / S
    torch.testing.assert_close(method(activations, gradients, relu=False), expected)
    torch.testing.assert_close(method(activations, gradients), expected.relu())


def test_layercam_takes_the_positive_weights(linear):
    activations, weights, bias = linear
    gradients = gradients_of(lambda x: x.mean((2, 3)) @ weights.T + bias, activations)
    torch.testing.assert_close(layercam(activations, gradients), class_activation_maps(activations, weights.relu()) / S)


def test_the_weights_of_gradcampp_have_a_closed_form(linear):
    activations, weights, bias = linear
    gradients = gradients_of(lambda x: x.mean((2, 3)) @ weights.T + bias, activations)
    slope = (weights / S).unsqueeze(1)
    closed = S * slope.relu() / (2 + slope * activations.sum((2, 3)))  # (K, N, C)
    expected = torch.einsum("knc,nchw->knhw", closed, activations)
    torch.testing.assert_close(gradcampp(activations, gradients), expected)


def test_hirescam_sums_to_the_score_of_any_linear_layer(linear):
    activations, _, bias = linear
    weights = torch.randn(K, C, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores = torch.einsum("nchw,kchw->nk", activations, weights)
    gradients = gradients_of(lambda x: torch.einsum("nchw,kchw->nk", x, weights) + bias, activations)
    torch.testing.assert_close(hirescam(activations, gradients, relu=False).sum((2, 3)).T, scores)


@pytest.mark.parametrize("weights_of", ["softmax", "uniform"])
def test_finercam_is_a_difference_of_class_activation_maps(weights_of, linear):
    """With the coefficients that the targets have: no backward pass is needed."""
    activations, weights, bias = linear
    classes = torch.tensor([[0, 3], [2, 2], [4, 1]])
    options = {"alpha": 0.7, "references": 2, "weights": weights_of}

    def targets(x):
        return finer_targets(x.mean((2, 3)) @ weights.T + bias, classes, **options)

    maps = gradcam(activations, gradients_of(targets, activations), relu=False).transpose(0, 1)
    scores = activations.mean((2, 3)) @ weights.T + bias
    cams = class_activation_maps(activations, weights).transpose(0, 1) / S
    coefficients = finer_coefficients(scores, classes, **options)
    torch.testing.assert_close(maps, torch.einsum("njk,nkhw->njhw", coefficients, cams))


def test_a_channel_that_is_constant_is_no_matter_to_the_position_of_the_maximum(linear):
    """Adding a constant channel adds a constant to the map."""
    activations, weights, _ = linear
    constant = torch.cat([activations, torch.full((N, 1, H, W), 3.0, dtype=torch.float64)], 1)
    more = torch.cat([weights, torch.ones(K, 1, dtype=torch.float64)], 1)
    gradients = gradients_of(lambda x: x.mean((2, 3)) @ more.T, constant)
    maps = gradcam(constant, gradients, relu=False)
    torch.testing.assert_close(maps, class_activation_maps(activations, weights) / S + 3.0 / S)
