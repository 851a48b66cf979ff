"""Logistic regression at once: the minimum itself, whatever is masked, constant or missing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from wsl.errors import UserError
from wsl.training.probe import START, fit_logistic

ENOUGH = 1000


def problem(seed=0, images=80, features=6, classes=3, dtype=torch.float64):
    """Features of unlike units, and labels that depend on them, all with exceptions."""
    rng = torch.Generator().manual_seed(seed)
    plain = torch.randn(images, features, generator=rng, dtype=torch.float64)
    scores = plain @ torch.randn(features, classes, generator=rng, dtype=torch.float64) - 0.5
    targets = (scores + torch.randn(images, classes, generator=rng, dtype=torch.float64) > 0).to(dtype)
    units = torch.logspace(-2, 2, features, dtype=torch.float64)
    return (plain * units + 3 * units).to(dtype), targets


@pytest.mark.parametrize("penalty", [0.002, 0.02, 1.0])
def test_it_is_newton_s_minimum(reference, penalty):
    features, targets = problem()
    fit = fit_logistic(features, targets, penalty=penalty, iterations=ENOUGH)
    mean, scale = features.mean(0).numpy(), features.std(0, correction=0).numpy()
    for k in range(3):
        weight, bias = reference.logistic.newton(features.numpy(), targets[:, k].numpy(), penalty, mean, scale)
        np.testing.assert_allclose(fit.weight[k], weight, rtol=1e-5, atol=1e-8)
        assert fit.bias[k].item() == pytest.approx(bias, rel=1e-5)
    assert fit.fitted.all()


@pytest.mark.parametrize("penalty", [0.002, 0.02, 1.0])
def test_it_is_scikit_learn_s_with_its_c(penalty):
    features, targets = problem(1)
    fit = fit_logistic(features, targets, penalty=penalty, iterations=ENOUGH)
    scores = features @ fit.weight.T + fit.bias
    standard = StandardScaler().fit_transform(features.numpy())
    for k in range(3):
        model = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-10, max_iter=10_000)
        model.fit(standard, targets[:, k].numpy())
        np.testing.assert_allclose(scores[:, k], model.decision_function(standard), atol=1e-5)


def test_masked_entries_are_ignored_each_for_its_class(reference):
    """The others' means are over the images that are known; features are standardised over all images."""
    features, targets = problem(2)
    mask = torch.rand(targets.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    fit = fit_logistic(features, targets, mask, iterations=ENOUGH)
    mean, scale = features.mean(0).numpy(), features.std(0, correction=0).numpy()
    for k in range(3):
        rows = mask[:, k]
        weight, bias = reference.logistic.newton(features[rows].numpy(), targets[rows, k].numpy(), 0.02, mean, scale)
        np.testing.assert_allclose(fit.weight[k], weight, rtol=1e-5, atol=1e-8)
        assert fit.bias[k].item() == pytest.approx(bias, rel=1e-5)
    spoilt = torch.where(mask, targets, torch.nan)
    again = fit_logistic(features, spoilt, mask, iterations=ENOUGH)
    assert torch.equal(again.weight, fit.weight)
    assert torch.equal(again.bias, fit.bias)


def test_separable_images_have_finite_weights(reference):
    features = torch.arange(10, dtype=torch.float64)[:, None]
    targets = (features > 4).double()
    fit = fit_logistic(features, targets, iterations=ENOUGH)
    mean, scale = np.array([4.5]), features.std(0, correction=0).numpy()
    weight, _ = reference.logistic.newton(features.numpy(), targets[:, 0].numpy(), 0.02, mean, scale)
    assert fit.weight.item() == pytest.approx(weight.item(), rel=1e-6)


def test_more_features_than_images(reference):
    features, targets = problem(3, images=12, features=40, classes=1)
    assert 0 < targets.sum() < 12
    fit = fit_logistic(features, targets, iterations=ENOUGH)
    mean, scale = features.mean(0).numpy(), features.std(0, correction=0).numpy()
    weight, bias = reference.logistic.newton(features.numpy(), targets[:, 0].numpy(), 0.02, mean, scale)
    np.testing.assert_allclose(features @ fit.weight[0] + fit.bias[0], features.numpy() @ weight + bias, atol=1e-5)


def test_its_default_number_of_steps_comes_close():
    features, targets = problem(4, images=300, features=120, classes=5)
    quick, exact = (fit_logistic(features, targets, iterations=steps) for steps in (40, ENOUGH))
    scores, expected = (features @ fit.weight.T + fit.bias for fit in (quick, exact))
    assert (scores - expected).abs().max() < 0.05 * expected.std()


def test_single_precision_is_close_to_double():
    features, targets = problem(5, features=20)
    exact = fit_logistic(features, targets, iterations=200)
    single = fit_logistic(features.float(), targets.float(), iterations=200)
    assert single.weight.dtype == single.bias.dtype == torch.float32
    scores, expected = features.float() @ single.weight.T + single.bias, features @ exact.weight.T + exact.bias
    torch.testing.assert_close(scores.double(), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_is_computed_in_single(dtype):
    features, targets = problem(6)
    features = (features / features.std(0)).to(dtype)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        fit = fit_logistic(features, targets)
    expected = fit_logistic(features.float(), targets)
    assert fit.weight.dtype == torch.float32
    assert torch.equal(fit.weight, expected.weight)
    assert torch.equal(fit.bias, expected.bias)


def test_classes_without_positives_or_negatives_are_named_and_have_a_bias_of_their_frequency():
    features, targets = problem(7, images=99, classes=5)
    targets[:, 1], targets[:, 2], targets[:, 3] = 0, 1, torch.nan
    mask = torch.ones(targets.shape, dtype=torch.bool)
    mask[:, 3] = False
    mask[:, 4] = targets[:, 4] == 1
    fit = fit_logistic(features, targets, mask)
    assert fit.fitted.tolist() == [True, False, False, False, False]
    assert (fit.weight[1:] == 0).all()
    assert fit.bias[1] < START < 0 < fit.bias[4]
    assert fit.bias[1].sigmoid().item() == pytest.approx(1 / (1 + np.exp(3)) / 100)
    assert fit.bias[3].item() == pytest.approx(START, abs=1e-6)
    assert fit.bias.isfinite().all()
    alone = fit_logistic(features, targets[:, :1])
    torch.testing.assert_close(fit.weight[:1], alone.weight)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_a_constant_feature_has_no_weight_and_changes_no_other(value):
    features, targets = problem(8, dtype=torch.float32)
    more = torch.cat([features, torch.full((len(features), 1), value)], 1)
    fit, alone = fit_logistic(more, targets), fit_logistic(features, targets)
    assert (fit.weight[:, -1] == 0).all()
    torch.testing.assert_close(fit.weight[:, :-1], alone.weight)
    torch.testing.assert_close(fit.bias, alone.bias)


def test_units_and_offsets_of_features_do_not_matter():
    features, targets = problem(9)
    moved = 100 * features - 7
    fit, other = fit_logistic(features, targets), fit_logistic(moved, targets)
    scores, expected = moved @ other.weight.T + other.bias, features @ fit.weight.T + fit.bias
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-6)


def test_the_same_input_gives_the_same_result_and_stays_as_it_is():
    features, targets = problem(10, dtype=torch.float32)
    before = features.clone(), targets.clone()
    one, other = fit_logistic(features.requires_grad_(), targets), fit_logistic(features, targets)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)
    assert not one.weight.requires_grad
    assert torch.equal(features, before[0])
    assert torch.equal(targets, before[1])


def test_no_class_is_no_weight():
    fit = fit_logistic(torch.randn(4, 3), torch.zeros(4, 0))
    assert fit.weight.shape == (0, 3)
    assert fit.bias.shape == fit.fitted.shape == (0,)


def test_many_columns_are_standardised_alike():
    features, targets = problem(11, features=600)
    fit = fit_logistic(features, targets)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    other = fit_logistic(features[:, order], targets)
    torch.testing.assert_close(other.weight, fit.weight[:, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "targets", "mask", "options", "message"),
    [
        (
            torch.ones(4),
            torch.ones(4, 1),
            None,
            {},
            r"features have shape \(4,\) and targets \(4, 1\), expected \(N, D\)",
        ),
        (torch.ones(4, 2), torch.ones(3, 1), None, {}, r"targets \(3, 1\)"),
        (torch.ones(0, 2), torch.ones(0, 1), None, {}, "at least one image"),
        (torch.ones(4, 0), torch.ones(4, 1), None, {}, "at least one image and feature"),
        (torch.ones(4, 2), torch.ones(4, 1), torch.ones(4, 1), {}, "the mask is .*float32, expected bool"),
        (torch.ones(4, 2), torch.ones(4, 1), torch.ones(4, 2) > 0, {}, r"the mask is \(4, 2\)"),
        (torch.full((4, 2), torch.nan), torch.ones(4, 1), None, {}, "features contain NaN"),
        (torch.ones(4, 2), -torch.ones(4, 1), None, {}, "a known target is outside"),
        (torch.ones(4, 2), torch.full((4, 1), torch.nan), None, {}, "a known target is outside"),
        (torch.ones(4, 2), torch.ones(4, 1), None, {"penalty": 0}, "penalty 0"),
        (torch.ones(4, 2), torch.ones(4, 1), None, {"penalty": np.inf}, "penalty inf"),
        (torch.ones(4, 2), torch.ones(4, 1), None, {"iterations": 0}, "iterations 0"),
    ],
)
def test_bad_arguments(features, targets, mask, options, message):
    with pytest.raises(UserError, match=message):
        fit_logistic(features, targets, mask, **options)
