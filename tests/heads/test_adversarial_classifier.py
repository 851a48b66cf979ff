"""ACoL's head: against loops over locations, by hand, and where nothing can be stretched."""

import numpy as np
import pytest
import torch

from heads import AdversarialClassifier
from heads.spec import create

PRESENT = [[0], [0, 2], []]


def made(classes=3, threshold=0.7, dtype=torch.float64, **more):
    torch.manual_seed(0)
    return AdversarialClassifier(4, classes, threshold=threshold, hidden=5, **more).to(dtype)


def layers(branch) -> list:
    found = [branch[0], branch[2], branch[4].conv]
    return [tuple(tensor.detach().numpy() for tensor in (one.weight, one.bias)) for one in found]


def asked(classes=3) -> torch.Tensor:
    present = torch.zeros(len(PRESENT), classes, dtype=torch.bool)
    for row, labels in enumerate(PRESENT):
        present[row, labels] = True
    return present


@pytest.mark.parametrize("size", [(4, 6), (1, 5), (1, 1)])
@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.0])
def test_both_classifiers_are_the_slow_definition(size, threshold, reference):
    head, features = made(threshold=threshold), torch.randn(3, 4, *size, dtype=torch.float64)
    slow = reference.acol
    with torch.no_grad():
        first, second = head.both(features, asked())
        scores, maps = head(features)
    for row, image in enumerate(features.numpy()):
        seen = slow.branch(image, layers(head.first))
        np.testing.assert_allclose(first.maps[row], seen, atol=1e-12)
        np.testing.assert_allclose(first.scores[row], seen.mean((1, 2)), atol=1e-12)
        left = slow.branch(slow.erased(image, seen, PRESENT[row], threshold), layers(head.second))
        np.testing.assert_allclose(second.maps[row], left, atol=1e-12)
        np.testing.assert_allclose(second.scores[row], left.mean((1, 2)), atol=1e-12)
        highest = int(seen.mean((1, 2)).argmax())
        left = slow.branch(slow.erased(image, seen, [highest], threshold), layers(head.second))
        np.testing.assert_allclose(maps[row], slow.fused(seen, left), atol=1e-9)
    assert torch.equal(scores, first.scores)


def test_what_is_erased_by_hand():
    """Maps that are the features: class 0 is high in the middle, class 1 at the right end."""
    head = made(classes=2, threshold=0.7)
    features = torch.tensor([[0.0, 4.0, 3.0, 0.0], [0.0, 0.0, 1.0, 5.0]], dtype=torch.float64)[None, :, None]
    erased = [head._erased(features, torch.tensor([present])) for present in ([1, 0], [0, 1], [1, 1], [0, 0])]
    expected = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert [one.int().flatten().tolist() for one in erased] == expected


def test_the_second_teaches_the_first_nothing_through_the_erasure():
    head, features = made(), torch.randn(3, 4, 4, 6, dtype=torch.float64)
    head.both(features, asked())[1].scores.sum().backward()
    assert all(one.grad is None for one in head.first.parameters())
    assert all(one.grad.isfinite().all() for one in head.second.parameters())


def test_flat_features_erase_nothing_and_give_finite_maps():
    head = made(pooling="lse(beta=2)")
    for features in (torch.zeros(2, 4, 1, 1), torch.zeros(2, 4, 3, 3)):
        first, second = head.both(features.double(), asked()[:2])
        assert first.scores.isfinite().all()
        assert second.scores.isfinite().all()
        assert head(features.double()).maps.isfinite().all()
    flat = torch.full((1, 3, 4, 4), 2.5)
    assert not head._erased(flat, torch.ones(1, 3, dtype=torch.bool)).any()


def test_one_image_needs_no_batch():
    head, features = made(), torch.randn(4, 3, 5, dtype=torch.float64)
    for got, expected in zip(head(features), head(features[None]), strict=True):
        torch.testing.assert_close(got, expected[0])


def test_lower_precision_erases_by_exact_comparison():
    head, maps = made(threshold=1.0), torch.linspace(0, 1, 9).view(1, 1, 3, 3).bfloat16()
    assert head._erased(maps, torch.ones(1, 1, dtype=torch.bool)).sum() == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("acol(threshold=0)", r"threshold is 0, expected a fraction of the map's range in \(0, 1\]"),
        ("acol(threshold=1.5)", "threshold is 1.5"),
        ("acol(threshold=high)", "threshold is 'high', expected a number"),
        ("acol(hidden=0)", "hidden is 0, expected 1 or more"),
        ("acol(treshold=0.5)", "head 'acol' has no argument 'treshold': did you mean 'threshold'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        create(spec, {"acol": AdversarialClassifier}, "head", given={"in_channels": 4, "num_classes": 2})
