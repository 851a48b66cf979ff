"""Gradient maps: equal to class activation maps where those exist, and to the papers' formulas elsewhere."""

import pytest
import torch

import heads
from wsl.cam import gradient_maps
from wsl.errors import UserError

METHODS = ("xgradcam", "gradcam")
ENCODERS = ("spp(levels=(2, 1))", "netvlad(clusters=3)", "bilinear", "compactbilinear(dim=32)")


def random_features(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def vector_head(encoder, channels=6, classes=4):
    torch.manual_seed(0)
    return heads.VectorClassifier(channels, classes, encoder).double()


@pytest.mark.parametrize("method", METHODS)
def test_for_average_pooling_they_are_the_class_activation_maps(method):
    """Over the number of locations, and without the bias; negative features included."""
    head = heads.MapClassifier(6, 4, pooling="gap").double()
    features = random_features(2, 6, 5, 7)
    scores, maps = gradient_maps(lambda x: head(x).scores, features, method=method)
    torch.testing.assert_close(scores, head(features).scores)
    torch.testing.assert_close(maps, head(features).maps / 35)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("method", METHODS)
def test_they_follow_the_papers_image_by_image_and_class_by_class(encoder, method):
    head = vector_head(encoder)
    features = random_features(2, 6, 4, 5).relu()  # as Fu et al. have them
    features[:, 1] = 0  # a silent channel has no say
    _, maps = gradient_maps(head, features, method=method)
    for image in range(2):
        for k in range(4):
            alone = features[image].clone().requires_grad_()
            head(alone)[k].backward()
            expected = torch.zeros(4, 5).double()
            for feature, gradient in zip(alone.detach(), alone.grad, strict=True):
                if method == "gradcam":
                    weight = gradient.mean()
                else:
                    weight = (gradient * feature).sum() / feature.sum() if feature.any() else 0
                expected += weight * feature
            torch.testing.assert_close(maps[image, k], expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_chosen_classes_are_some_of_all(encoder):
    head, features = vector_head(encoder), random_features(3, 6, 4, 5)
    scores, every = gradient_maps(head, features)
    chosen = torch.tensor([[2, 0], [1, 1], [3, 2]])
    some = gradient_maps(head, features, chosen)
    torch.testing.assert_close(some.scores, scores)
    torch.testing.assert_close(some.maps, torch.stack([every[i, chosen[i]] for i in range(3)]))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_they_come_in_every_mode_and_leave_nothing_behind(mode):
    head = vector_head("netvlad(clusters=3)")
    expected = gradient_maps(head, random_features(2, 6, 4, 5))
    with mode():
        features = random_features(2, 6, 4, 5)
        before = features.clone()
        scores, maps = gradient_maps(head, features)
        assert torch.equal(features, before)
    torch.testing.assert_close((scores, maps), tuple(expected))
    assert not scores.requires_grad
    assert not maps.requires_grad
    assert all(parameter.grad is None for parameter in head.parameters())


@pytest.mark.parametrize("encoder", ["spp(levels=(2, 1))", "netvlad(clusters=3)"])
def test_half_precision_stays_near_and_comes_back_as_it_was(encoder):
    """Without a signed root, which makes much of a rounding near zero."""
    head = vector_head(encoder)
    features = random_features(2, 6, 4, 5)
    exact = gradient_maps(head, features).maps
    head = head.float()  # outside: what inference mode makes cannot be differentiated
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        head(features.bfloat16())  # leaves its rounded weights to those who come later
        maps = gradient_maps(head, features.bfloat16()).maps
    assert maps.dtype == torch.bfloat16
    torch.testing.assert_close(maps.double(), exact, rtol=0, atol=0.1 * float(exact.abs().max()))


@pytest.mark.parametrize(("images", "wanted"), [(0, 2), (2, 0), (0, 0)])
def test_no_image_or_no_class_is_no_map(images, wanted):
    head, features = vector_head("spp"), random_features(images, 6, 4, 5)
    scores, maps = gradient_maps(head, features, torch.zeros(images, wanted, dtype=torch.long))
    assert scores.shape == (images, 4)
    assert maps.shape == (images, wanted, 4, 5)


def test_features_of_zeros_give_maps_of_zeros():
    for encoder in ENCODERS:
        assert not gradient_maps(vector_head(encoder), torch.zeros(1, 6, 4, 5).double()).maps.any()


def test_other_shapes_and_methods_are_refused():
    head, features = vector_head("spp"), random_features(2, 6, 4, 5)
    with pytest.raises(UserError, match=r"shapes \[\(6, 4, 5\), None\], expected \(N, C, h, w\)"):
        gradient_maps(head, features[0])
    with pytest.raises(UserError, match=r"\(3, 1\)\], expected \(N, C, h, w\) and \(N, J\)"):
        gradient_maps(head, features, torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(UserError, match="method is 'cam', expected 'xgradcam' or 'gradcam'"):
        gradient_maps(head, features, method="cam")
