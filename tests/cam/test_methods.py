"""Each gradient method against the paper's formula, and what all of them promise."""

import pytest
import torch

from wsl.cam.eigencam import eigencam
from wsl.cam.eigengradcam import eigengradcam
from wsl.cam.gradcam import gradcam
from wsl.cam.gradcampp import gradcampp
from wsl.cam.hirescam import hirescam
from wsl.cam.layercam import layercam, scale_shallow
from wsl.cam.xgradcam import xgradcam
from wsl.errors import UserError

WEIGHTED = {"gradcam": gradcam, "hirescam": hirescam, "gradcampp": gradcampp, "xgradcam": xgradcam}
GRADIENT = {**WEIGHTED, "layercam": layercam, "eigengradcam": eigengradcam}
ALL = {**GRADIENT, "eigencam": lambda activations, gradients: eigencam(activations)}


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=ALL)
def method(request):
    return ALL[request.param]


@pytest.mark.parametrize("name", [*WEIGHTED, "layercam"])
def test_they_follow_the_papers_cell_by_cell(name, reference):
    activations, gradients = drawn(3, 5, 4, 6).relu(), drawn(3, 5, 4, 6, seed=1)
    activations[:, 1] = 0
    gradients[:, 2, :2] = 0
    for image in range(3):
        expected = getattr(reference.cams, name)(activations[image].tolist(), gradients[image].tolist())
        torch.testing.assert_close(GRADIENT[name](activations, gradients)[image], torch.tensor(expected).double())


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "xgradcam", "layercam"])
def test_activations_may_be_negative(name, reference):
    activations, gradients = drawn(5, 4, 6), drawn(5, 4, 6, seed=1)
    expected = getattr(reference.cams, name)(activations.tolist(), gradients.tolist())
    torch.testing.assert_close(GRADIENT[name](activations, gradients), torch.tensor(expected).double())


def test_of_negative_activations_gradcampp_takes_the_magnitude():
    """A denominator of 1 + sum(A) g would be zero here."""
    activations, gradients = torch.tensor([[[-3.0, -1.0]]]), torch.tensor([[[0.5, 0.5]]])
    weight = 2 * 0.5 / (2 + 4 * 0.5)
    torch.testing.assert_close(gradcampp(activations, gradients, relu=False), weight * activations[0])


def test_the_principal_component_is_that_of_power_iteration(reference):
    activations, gradients = drawn(2, 5, 4, 6), drawn(2, 5, 4, 6, seed=1)
    for image in range(2):
        expected = torch.tensor(reference.cams.eigencam(activations[image].tolist())).double()
        torch.testing.assert_close(eigencam(activations)[image], expected)
        products = (activations[image] * gradients[image]).tolist()
        expected = torch.tensor(reference.cams.eigencam(products)).double()
        torch.testing.assert_close(eigengradcam(activations, gradients)[image], expected)


@pytest.mark.parametrize("side", [(3, 3), (9, 9)])
def test_a_small_object_is_positive_whatever_its_channels_do(side):
    """More channels than cells, and fewer."""
    object_mask = torch.zeros(side)
    object_mask[1, 2] = 1
    for sign in (1, -1):
        maps = eigencam(sign * object_mask * torch.arange(1.0, 21.0).view(20, 1, 1))
        assert maps.flatten().argmax() == object_mask.flatten().argmax()
        assert maps.max() > -maps.min()


def test_one_call_serves_all_classes(method):
    activations, gradients = drawn(2, 5, 4, 6), drawn(3, 2, 5, 4, 6, seed=1)
    maps = method(activations, gradients)
    for j in range(3):
        alone = method(activations, gradients[j])
        torch.testing.assert_close(maps if maps.ndim == 3 else maps[j], alone)


def test_an_image_alone_is_as_in_the_batch(method):
    activations, gradients = drawn(4, 5, 4, 6), drawn(4, 5, 4, 6, seed=1)
    maps = method(activations, gradients)
    turned = method(activations.flip(0), gradients.flip(0)).flip(0)
    torch.testing.assert_close(turned, maps)
    for image in range(4):
        torch.testing.assert_close(method(activations[image], gradients[image]), maps[image])


def test_a_permutation_of_channels_changes_nothing(method):
    activations, gradients = drawn(5, 4, 6), drawn(5, 4, 6, seed=1)
    torch.testing.assert_close(method(activations.flip(0), gradients.flip(0)), method(activations, gradients))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_single_precision(method, dtype):
    activations, gradients = drawn(5, 4, 6).mul(100).to(dtype), drawn(5, 4, 6, seed=1).mul(1000).to(dtype)
    maps = method(activations, gradients)
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    torch.testing.assert_close(maps, method(activations.float(), gradients.float()))


def test_autocast_does_not_round_them(method):
    activations, gradients = drawn(5, 4, 6, dtype=torch.float32), drawn(5, 4, 6, seed=1, dtype=torch.float32)
    expected = method(activations, gradients)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(method(activations, gradients), expected)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0])
@pytest.mark.parametrize("slope", [0.0, 0.1, -1e-30, 1e30])
def test_constant_activations_give_finite_maps_without_contrast(method, value, slope):
    activations = torch.full((2, 3, 4, 5), value)
    maps = method(activations, torch.full((2, 3, 4, 5), slope))
    assert maps.isfinite().all()
    assert torch.equal(maps, maps[..., :1, :1].expand_as(maps))


def test_what_was_given_stays(method):
    activations, gradients = drawn(2, 5, 4, 6), drawn(2, 5, 4, 6, seed=1)
    before = activations.clone(), gradients.clone()
    method(activations, gradients)
    assert torch.equal(activations, before[0])
    assert torch.equal(gradients, before[1])


@pytest.mark.parametrize("name", WEIGHTED)
def test_without_relu_the_sign_stays(name):
    activations, gradients = drawn(2, 5, 4, 6), drawn(2, 5, 4, 6, seed=1)
    signed = WEIGHTED[name](activations, gradients, relu=False)
    assert signed.min() < 0
    torch.testing.assert_close(WEIGHTED[name](activations, gradients), signed.relu())


@pytest.mark.parametrize("name", GRADIENT)
def test_tensors_of_two_layers_are_refused(name):
    with pytest.raises(UserError, match=r"shapes \(2, 5, 4, 6\) and \(2, 5, 4, 7\), expected \(\.\.\., C, h, w\)"):
        GRADIENT[name](drawn(2, 5, 4, 6), drawn(2, 5, 4, 7))


def test_a_nan_in_one_image_leaves_the_others_alone(method):
    activations, gradients = drawn(2, 5, 4, 6), drawn(2, 5, 4, 6, seed=1)
    alone = method(activations[1], gradients[1])
    activations[0, 2, 1, 1] = torch.nan
    maps = method(activations, gradients)
    torch.testing.assert_close(maps[1], alone)
    assert maps[0].isnan().any()


def test_shallow_maps_are_scaled_by_the_papers_tanh():
    maps = torch.stack([drawn(4, 6), 1e-20 * drawn(4, 6, seed=1), torch.zeros(4, 6), -drawn(4, 6).abs()])
    scaled = scale_shallow(maps, gamma=3.0)
    for one, got in zip(maps[:2], scaled[:2], strict=True):
        torch.testing.assert_close(got, torch.tanh(3.0 * one.relu() / one.max()))
    assert not scaled[2:].any()
