"""Objectives against torch's own, against their definitions written out slowly, and what unknown pairs must not do."""

import math

import pytest
import torch
from torch import nn

from heads import HeadOutput
from wsl.errors import UserError
from wsl.training.objectives import (
    BCE,
    OBJECTIVES,
    Asymmetric,
    CrossEntropy,
    Equivariance,
    ObjectiveSum,
    Pass,
    Puzzle,
    ReCAM,
    SoftMargin,
    binary_cross_entropy,
    create_objective,
)

CLASSIFIERS = {name: kind() for name, kind in OBJECTIVES.items() if kind.classifies}


def loss_of(objective, scores, targets, mask):
    return objective(HeadOutput(scores, torch.empty(0)), targets, mask)


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
    torch.testing.assert_close(loss_of(SoftMargin(), scores, targets, known), expected)


def test_bce_is_torch_s_over_the_pairs_that_are_not_ignored():
    scores, targets, known = draw(ignored=True)
    expected = torch.nn.BCEWithLogitsLoss()(scores[known > 0], targets[known > 0])
    torch.testing.assert_close(binary_cross_entropy(scores, targets, known), expected)


def test_cross_entropy_is_torch_s_on_one_label_an_image():
    scores, _, known = draw(ignored=False)
    labels = torch.arange(6) % 5
    targets = torch.nn.functional.one_hot(labels, 5).float()
    torch.testing.assert_close(
        loss_of(CrossEntropy(), scores, targets, known), torch.nn.CrossEntropyLoss()(scores, labels)
    )


def test_cross_entropy_of_several_labels_is_torch_s_on_equal_shares():
    scores, targets, known = draw(ignored=False)
    shares = targets / targets.sum(1, keepdim=True)
    torch.testing.assert_close(
        loss_of(CrossEntropy(), scores, targets, known), torch.nn.CrossEntropyLoss()(scores, shares)
    )


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=str)
def test_targets_of_another_shape_are_refused_and_of_another_type_are_numbers(loss):
    scores, targets, known = draw(ignored=False)
    for wrong in (targets[:1], targets[:, :1]):
        with pytest.raises(UserError, match=r"targets are \(\d, \d\) .* expected both to be \(6, 5\), as the scores"):
            loss_of(loss, scores, wrong, known)
    same = loss_of(loss, scores, targets.long(), known.bool())
    assert torch.equal(same, loss_of(loss, scores, targets, known))


@pytest.mark.parametrize("term", [Equivariance(), Puzzle(), ReCAM(classes=5, channels=4)], ids=str)
def test_a_term_that_reads_the_forward_pass_asks_for_it(term):
    _, targets, known = draw(ignored=False)
    with pytest.raises(UserError, match="reads the forward pass: expected"):
        term(HeadOutput(torch.zeros(6, 5), torch.zeros(6, 5, 2, 2)), targets, known)


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_ignored_pairs_have_no_gradient_and_change_no_loss(loss):
    scores, targets, known = draw(ignored=True)
    value = loss_of(loss, scores, targets, known)
    value.backward()
    assert scores.grad.isfinite().all()
    assert (scores.grad[known == 0] == 0).all()
    assert (scores.grad[(targets * known > 0)] != 0).all()
    moved = torch.where(known == 0, scores.detach() + 100, scores.detach())
    torch.testing.assert_close(loss_of(loss, moved, targets, known), value.detach())


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=CLASSIFIERS)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_scores_give_finite_losses_and_gradients(loss, size):
    _, targets, known = draw(ignored=True)
    scores = torch.full((6, 5), size)
    scores[:, ::2] *= -1
    scores.requires_grad_()
    value = loss_of(loss, scores, targets, known)
    value.backward()
    assert value.isfinite()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_nothing_known_is_no_loss(loss):
    scores = torch.randn(2, 3, requires_grad=True)
    value = loss_of(loss, scores, torch.ones(2, 3), torch.zeros(2, 3))
    value.backward()
    assert value == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("settings", [(4, 1, 0.05), (4, 0, 0), (0, 0, 0), (2, 3, 0.2)])
def test_asymmetric_is_its_formula_pair_by_pair(reference, settings):
    scores, targets, known = draw(ignored=True)
    expected, count = 0.0, 0
    for n, k in known.nonzero().tolist():
        expected += reference.objectives.asymmetric(scores[n, k].item(), targets[n, k].item(), *settings)
        count += 1
    assert loss_of(Asymmetric(*settings), scores, targets, known).item() == pytest.approx(expected / count, rel=1e-5)


def test_asymmetric_without_its_settings_is_binary_cross_entropy():
    scores, targets, known = draw(ignored=True)
    plain = Asymmetric(gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(loss_of(plain, scores, targets, known), loss_of(BCE(), scores, targets, known))


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_a_target_between_has_the_loss_between(loss):
    """CutMix gives fractions."""
    scores, mask = torch.tensor([[1.3]]), torch.ones(1, 1)
    absent, present, mixed = (loss_of(loss, scores, torch.tensor([[value]]), mask) for value in (0.0, 1.0, 0.25))
    if not isinstance(loss, CrossEntropy):
        torch.testing.assert_close(mixed, 0.25 * present + 0.75 * absent)


@pytest.mark.parametrize("loss", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_sums_and_counts_add_up_over_parts_of_a_batch(loss):
    scores, targets, mask = draw(ignored=True)
    output = HeadOutput(scores, torch.empty(0))
    parts = [slice(0, 1), slice(1, 6)]
    total = sum(loss.total(HeadOutput(scores[p], torch.empty(0)), targets[p], mask[p], None) for p in parts)
    count = sum(loss.count(targets[p], mask[p]) for p in parts)
    torch.testing.assert_close(total / count, loss(output, targets, mask))


# --- terms of class maps ------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Maps that are a convolution of the images; the scores are their means."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, classes, 3, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> HeadOutput:
        maps = self.conv(images)
        return HeadOutput(maps.mean((2, 3)), maps)


def example(size=(32, 32)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    targets = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]])  # the last only fills the batch
    return torch.randn(4, 3, *size), targets, mask


def judged(term, size=(32, 32), progress=0.3):
    images, targets, mask = example(size)
    network = Toy()
    given = Pass(images, network, images, progress)
    return term(network(images), targets, mask, given), (network, images, targets, mask)


@pytest.mark.parametrize("size", [(32, 32), (40, 36)])
def test_equivariance_is_its_definition(reference, size):
    found, (network, images, targets, mask) = judged(Equivariance(scale=0.5), size)
    torch.testing.assert_close(found, reference.objectives.equivariance(network, images, targets, mask, 0.5))


def test_an_equivariant_network_has_nothing_to_correct():
    """Maps that are the image's own colours, which resizing by whole pixels commutes with."""
    image = torch.rand(1, 3, 32, 32).repeat_interleave(2, 2).repeat_interleave(2, 3)
    output = HeadOutput(image.mean((2, 3)), image)
    given = Pass(image, lambda smaller: HeadOutput(smaller.mean((2, 3)), smaller), image, 0.0)
    assert Equivariance(0.5)(output, torch.ones(1, 3), torch.ones(1, 3), given) < 1e-6


@pytest.mark.parametrize(("tiles", "size", "progress"), [(2, (32, 32), 0.1), (2, (34, 30), 0.9), (4, (32, 32), 0.0)])
def test_puzzle_is_its_definition(reference, tiles, size, progress):
    found, (network, images, targets, mask) = judged(Puzzle(tiles, alpha=3, ramp=0.5), size, progress)
    alpha = 3 * min(1, progress / 0.5)
    torch.testing.assert_close(found, reference.objectives.puzzle(network, images, targets, mask, tiles, alpha))


def test_recam_is_its_definition(reference):
    images, targets, mask = example()
    features = torch.randn(4, 6, 5, 5)
    term = ReCAM(weight=0.5, classes=3, channels=6)
    maps = torch.randn(4, 3, 5, 5)
    found = term(HeadOutput(maps.mean((2, 3)), maps), targets, mask, Pass(images, Toy(), features, 0.0))
    expected = reference.objectives.recam(maps, features, term.classifier.weight, targets, mask)
    torch.testing.assert_close(found, 0.5 * expected)


@pytest.mark.parametrize("term", [Equivariance(), Puzzle(), ReCAM(classes=3, channels=3)], ids=str)
def test_an_image_that_only_fills_the_batch_changes_nothing(term):
    images, targets, mask = example()
    network = Toy()

    def value(images, targets):
        given = Pass(images, network, images[:, :, ::2, ::2], 1.0)
        return term(network(images), targets, mask, given)

    other = torch.cat([images[:3], 100 * torch.randn(1, 3, 32, 32)])
    torch.testing.assert_close(value(images, targets), value(other, torch.cat([targets[:3], 1 - targets[3:]])))


# --- by name ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("soft-margin", "soft-margin"),
        ("soft_margin + equivariance(scale=0.25)", "soft-margin + equivariance(scale=0.25, weight=1)"),
        (
            "asymmetric(gamma_neg=2) + recam(weight=0.5)",
            "asymmetric(gamma_neg=2, gamma_pos=1, clip=0.05) + recam(weight=0.5)",
        ),
    ],
)
def test_a_sum_is_its_spec_string(spec, canonical):
    made = create_objective(spec, classes=4, channels=8)
    assert isinstance(made, ObjectiveSum)
    assert repr(made) == canonical
    assert repr(create_objective(canonical, classes=4, channels=8)) == canonical


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bec", "unknown loss 'bec': did you mean 'bce'"),
        ("bce + puzle", "unknown loss 'puzle': did you mean 'puzzle'"),
        ("bce + puzzle(tils=3)", "loss 'puzzle' has no argument 'tils': did you mean 'tiles'"),
        ("bce + puzzle(tiles=1)", "tiles is 1, expected a number of tiles a side from 2 to 8"),
        ("asymmetric(gamma_neg=0.5)", "gamma_neg is 0.5, expected 0, or 1 or more"),
        ("bce + soft-margin", "has 2 losses of scores: expected exactly one of bce, soft-margin, cross-entropy"),
        ("puzzle", "has 0 losses of scores"),
        ("bce - puzzle", "expected a name with its arguments"),
        ("", "the loss is '', expected one of bce, soft-margin, "),
        ("bce + equivariance(scale=1)", "scale is 1, expected a fraction"),
        ("bce + recam(weight=0)", "weight is 0, expected a number above 0"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        create_objective(spec, classes=4, channels=8)


def test_a_loss_of_nothing_but_log_two():
    assert loss_of(BCE(), torch.zeros(2, 2), torch.eye(2), torch.ones(2, 2)).item() == pytest.approx(math.log(2))
