"""The heads of TS-CAM and SCM on tokens and attention, whatever network these come from."""

import numpy as np
import pytest
import torch

from heads import MapClassifier, SpatialCalibration, TokenClassifier
from heads.calibration import inverse, laplacian


def tokens_and_attention(count=2, channels=8, size=(5, 7), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, channels, *size, generator=generator, dtype=dtype)
    return features, torch.rand(count, *size, generator=generator, dtype=dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (4, 1), (3, 5), (14, 14)])
def test_the_laplacian_is_that_of_neighbours(size, reference):
    assert np.array_equal(laplacian(*size).numpy(), reference.token_heads.laplacian(*size))


def test_newton_and_schulz_end_in_the_inverse():
    matrix = torch.randn(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = matrix @ matrix.mT + torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(inverse(matrix, 60), torch.linalg.inv(matrix))


@pytest.mark.parametrize("size", [(3, 5), (6, 2), (1, 7), (5, 5)])
@pytest.mark.parametrize(("strength", "threshold"), [(1.0, 0.5), (0.6, 0.3), (1.4, -0.8)])
def test_calibration_is_the_slow_definition(size, strength, threshold, reference):
    calibration = SpatialCalibration().double()
    with torch.no_grad():
        for name, parameter in calibration.named_parameters():
            parameter.fill_(strength if name.endswith("strength") else threshold)
        maps, attention = tokens_and_attention(3, 4, size, torch.float64)
        found = calibration(maps, attention)
    for got, one, looked in zip(found, maps, attention, strict=True):
        expected = reference.token_heads.scm(one.numpy(), looked.numpy(), (strength,) * 4, (threshold,) * 4)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9)


def test_calibration_in_single_precision_is_that_in_double():
    maps, attention = tokens_and_attention(2, 4, (14, 14), torch.float64)
    with torch.no_grad():
        single = SpatialCalibration()(maps.float(), attention.float())
        torch.testing.assert_close(single.double(), SpatialCalibration()(maps, attention), rtol=1e-3, atol=1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(SpatialCalibration()(maps.float(), attention.float()), single)


@pytest.mark.parametrize(("maps", "attention"), [("flat", "flat"), ("zero", "any"), ("any", "flat"), ("any", "zero")])
def test_flat_maps_and_flat_attention_stay_finite_with_their_gradients(maps, attention):
    given, looked = tokens_and_attention()
    given = {"flat": torch.ones_like(given), "zero": torch.zeros_like(given), "any": given}[maps].requires_grad_()
    looked = {"flat": torch.ones_like(looked), "zero": torch.zeros_like(looked), "any": looked}[attention]
    looked.requires_grad_()
    calibration = SpatialCalibration()
    calibration(given, looked).sum().backward()
    for tensor in (given, looked, *calibration.parameters()):
        assert tensor.grad.isfinite().all()
    if attention in ("flat", "zero"):
        assert torch.equal(calibration(given, looked), given)


def test_an_images_calibration_does_not_depend_on_its_batch():
    calibration = SpatialCalibration().double()
    maps, attention = tokens_and_attention(3, dtype=torch.float64)
    together = calibration(maps, attention)
    for row, image in enumerate(together):
        torch.testing.assert_close(calibration(maps[row : row + 1], attention[row : row + 1])[0], image)


@pytest.mark.parametrize("pooling", ["gap", "lse(beta=2)", "weldon(k_max=0.2, k_min=0.2)", "adaptive(size=2)"])
@pytest.mark.parametrize("calibrate", [False, True])
def test_maps_are_semantic_maps_times_attention_and_scores_those_of_semantic_maps(pooling, calibrate):
    head = TokenClassifier(8, 3, pooling, maps_per_class=2, calibrate=calibrate).eval()
    features, attention = tokens_and_attention()
    scores, maps = head(features, attention)
    semantic = head.classwise(torch.nn.functional.conv2d(features, head.conv.weight, head.conv.bias, padding=1))
    torch.testing.assert_close(maps, semantic * attention[:, None])
    torch.testing.assert_close(scores, head.pool(semantic, features).scores)
    if pooling == "gap":
        torch.testing.assert_close(scores, semantic.mean((2, 3)))
    assert torch.equal(head(features).maps, semantic)
    torch.testing.assert_close(head(features[0], attention[0]).maps, maps[0])


def test_the_scores_of_training_see_attention_only_where_it_calibrates():
    features, attention = tokens_and_attention()
    plain = TokenClassifier(8, 3)
    assert not plain.needs_attention
    assert torch.equal(plain(features, attention).scores, plain(features).scores)
    head = TokenClassifier(8, 3, calibrate=True)
    assert head.needs_attention
    head.load_state_dict(plain.state_dict(), strict=False)
    attention.requires_grad_()
    scores, maps = head(features, attention)
    torch.testing.assert_close(maps, head.calibration(plain(features).maps, attention))
    torch.testing.assert_close(scores, maps.mean((2, 3)))
    scores.square().sum().backward()
    assert attention.grad.abs().sum() > 0
    for parameter in head.parameters():
        assert parameter.grad.abs().sum() > 0
    torch.testing.assert_close(head.eval()(features, attention), plain.eval()(features, attention))


def test_a_kernel_of_one_is_as_before():
    assert MapClassifier(8, 3).conv.kernel_size == (1, 1)
    assert MapClassifier(8, 3).conv.padding == (0, 0)


def test_impossible_inputs_are_refused():
    features, attention = tokens_and_attention()
    with pytest.raises(ValueError, match=r"attention has shape \(2, 7, 5\), expected \(2, 5, 7\)"):
        TokenClassifier(8, 3).eval()(features, attention.mT)
    with pytest.raises(ValueError, match="reads attention in training, but there is none"):
        TokenClassifier(8, 3, calibrate=True)(features)
    with pytest.raises(ValueError, match=r"csra.* has a 1x1 convolution of its own, and TokenClassifier one of 3x3"):
        TokenClassifier(8, 3, "csra(heads=4, lam=0.5)")
    with pytest.raises(ValueError, match="expected 8 channels"):
        TokenClassifier(8, 3)(features[:, :7])
