"""Targets of Finer-CAM against the formula, and the classes they are compared with."""

import pytest
import torch

from wsl.cam.finercam import finer_coefficients, finer_targets
from wsl.errors import UserError


def drawn_scores(seed=0):
    return torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("weights", ["softmax", "uniform"])
@pytest.mark.parametrize(("alpha", "references"), [(1.0, 3), (0.6, 1), (0.0, 2), (1.0, 99)])
def test_targets_follow_the_formula(weights, alpha, references, reference):
    scores, classes = drawn_scores(), torch.tensor([[0, 5], [3, 3], [2, 4]])
    targets = finer_targets(scores, classes, alpha=alpha, references=references, weights=weights)
    for image in range(3):
        for j in range(2):
            expected = reference.cams.finer_target(
                scores[image].tolist(), int(classes[image, j]), alpha, references, weights
            )
            assert float(targets[image, j]) == pytest.approx(expected, abs=1e-12)


def test_the_weights_of_the_references_are_constants():
    """The gradient is the coefficients, and nothing else."""
    scores, classes = drawn_scores().requires_grad_(), torch.tensor([[0], [3], [2]])
    (gradient,) = torch.autograd.grad(finer_targets(scores, classes).sum(), scores)
    torch.testing.assert_close(gradient, finer_coefficients(scores, classes)[:, 0])


def test_a_class_of_the_same_score_is_a_reference_and_the_class_is_not():
    scores = torch.tensor([[1.0, 1.0, 0.0]])
    coefficients = finer_coefficients(scores, torch.tensor([[0, 1]]), references=1)
    assert coefficients.tolist() == [[[1, -1, 0], [-1, 1, 0]]]


def test_coefficients_sum_to_one_minus_alpha():
    coefficients = finer_coefficients(drawn_scores(), torch.tensor([[0], [1], [2]]), alpha=0.25)
    torch.testing.assert_close(coefficients.sum(2), torch.full((3, 1), 0.75, dtype=torch.float64))


def test_large_scores_of_half_precision_do_not_overflow():
    scores = torch.tensor([[6e4, 5e4, -6e4, 0.0]], dtype=torch.float16)
    assert finer_targets(scores, torch.tensor([[0]]), references=1).item() == pytest.approx(1e4, abs=50)


def test_what_cannot_be_compared_is_refused():
    scores, classes = drawn_scores(), torch.tensor([[0], [1], [2]])
    with pytest.raises(UserError, match="3 references among 1 classes, expected 1 or more among 2 or more"):
        finer_targets(scores[:, :1], classes * 0)
    with pytest.raises(UserError, match="0 references among 6 classes"):
        finer_targets(scores, classes, references=0)
    with pytest.raises(UserError, match="weights is 'sigmoid', expected 'softmax' or 'uniform'"):
        finer_targets(scores, classes, weights="sigmoid")
    with pytest.raises(UserError, match=r"shapes \(3, 6\) and \(2, 1\), expected \(N, K\) and \(N, J\)"):
        finer_targets(scores, classes[:2])
