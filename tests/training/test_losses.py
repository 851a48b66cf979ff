"""Losses against torch's own, and what ignored pairs must not do."""

import pytest
import torch

from wsl.training.losses import LOSSES, binary_cross_entropy, cross_entropy, soft_margin


def draw(ignored: bool) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    scores = torch.randn(6, 5, requires_grad=True)
    targets, known = (torch.rand(6, 5) < 0.4).float(), torch.ones(6, 5)
    targets[:, 0] = 1
    if ignored:
        known[torch.rand(6, 5) < 0.3] = 0
        known[2] = 0  # an image of difficult objects only
    return scores, targets, known


def test_soft_margin_is_torch_s_multi_label_soft_margin_loss():
    scores, targets, known = draw(ignored=False)
    expected = torch.nn.MultiLabelSoftMarginLoss()(scores, targets)
    torch.testing.assert_close(soft_margin(scores, targets, known), expected)


def test_bce_is_torch_s_over_the_pairs_that_are_not_ignored():
    scores, targets, known = draw(ignored=True)
    expected = torch.nn.BCEWithLogitsLoss()(scores[known > 0], targets[known > 0])
    torch.testing.assert_close(binary_cross_entropy(scores, targets, known), expected)


def test_cross_entropy_is_torch_s_on_one_label_an_image():
    scores, _, known = draw(ignored=False)
    labels = torch.arange(6) % 5
    targets = torch.nn.functional.one_hot(labels, 5).float()
    torch.testing.assert_close(cross_entropy(scores, targets, known), torch.nn.CrossEntropyLoss()(scores, labels))


def test_cross_entropy_of_several_labels_is_torch_s_on_equal_shares():
    scores, targets, known = draw(ignored=False)
    shares = targets / targets.sum(1, keepdim=True)
    torch.testing.assert_close(cross_entropy(scores, targets, known), torch.nn.CrossEntropyLoss()(scores, shares))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_ignored_pairs_have_no_gradient_and_change_no_loss(loss):
    scores, targets, known = draw(ignored=True)
    value = loss(scores, targets, known)
    value.backward()
    assert scores.grad.isfinite().all()
    assert (scores.grad[known == 0] == 0).all()
    assert (scores.grad[(targets * known > 0)] != 0).all()
    moved = torch.where(known == 0, scores.detach() + 100, scores.detach())
    torch.testing.assert_close(loss(moved, targets, known), value.detach())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_scores_give_finite_losses_and_gradients(loss, size):
    _, targets, known = draw(ignored=True)
    scores = torch.full((6, 5), size)
    scores[:, ::2] *= -1
    scores.requires_grad_()
    value = loss(scores, targets, known)
    value.backward()
    assert value.isfinite()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_nothing_known_is_no_loss(loss):
    scores = torch.randn(2, 3, requires_grad=True)
    value = loss(scores, torch.ones(2, 3), torch.zeros(2, 3))
    value.backward()
    assert value == 0
    assert (scores.grad == 0).all()
