"""Score-CAM and Ablation-CAM against loops over the channels, and what a batch costs."""

import pytest
import torch
from torch import nn

from wsl.cam.ablationcam import ablationcam
from wsl.cam.scorecam import scorecam
from wsl.errors import UserError

CLASSES = torch.tensor([[0, 3], [2, 2], [1, 0]])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(2)).double()


@pytest.fixture
def head():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(5, 6, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 2 * 3, 4)).double().requires_grad_()


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def score_of(network):
    torch.manual_seed(2)
    last = nn.Linear(8, 4).double()
    return lambda images: 10 * last(network(images).mean(2))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_scorecam_follows_its_loop_over_channels(network, batch_size, reference):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1)
    activations[1, 2] = 7.0  # flat
    maps = scorecam(score, images, activations, CLASSES, batch_size=batch_size)
    for image in range(3):
        for j in range(2):
            expected = reference.cams.scorecam(
                score, images[image], activations[image].tolist(), int(CLASSES[image, j])
            )
            torch.testing.assert_close(maps[image, j], torch.tensor(expected).double())


def test_scorecam_takes_probabilities_as_they_are(network):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1)
    given = scorecam(lambda x: score(x).softmax(1), images, activations, CLASSES, softmax=False)
    torch.testing.assert_close(given, scorecam(score, images, activations, CLASSES))


def test_scorecam_of_some_channels_takes_those_of_the_largest_variance(network):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1)
    activations[0, [0, 3]] *= 10
    activations[1:, [1, 4]] *= 10
    kept = activations.clone()
    kept[0, [1, 2, 4]] = 0
    kept[1:, [0, 2, 3]] = 0
    expected = scorecam(score, images, kept, CLASSES)
    torch.testing.assert_close(scorecam(score, images, activations, CLASSES, channels=2), expected)
    torch.testing.assert_close(
        scorecam(score, images, activations, CLASSES, channels=9), scorecam(score, images, activations, CLASSES)
    )


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_ablationcam_follows_its_loop_over_channels(head, batch_size, reference):
    activations = drawn(3, 5, 3, 4).relu()
    activations[0, 2] = 0
    maps = ablationcam(lambda changed, _: head(changed), activations, CLASSES, head(activations), batch_size=batch_size)
    for image in range(3):
        for j in range(2):
            expected = reference.cams.ablationcam(head, activations[image].tolist(), int(CLASSES[image, j]))
            torch.testing.assert_close(maps[image, j], torch.tensor(expected).double())


def test_scorecam_never_takes_flat_channels(network):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1)
    activations[:, 1:4] = 2.0
    expected = scorecam(score, images, activations, CLASSES)
    torch.testing.assert_close(scorecam(score, images, activations, CLASSES, channels=4), expected)
    assert not scorecam(score, images, activations[..., :1, :1], CLASSES, channels=4).any()


def test_ablationcam_of_a_linear_head_is_the_class_activation_map():
    """Where each channel counts by itself, a drop is its part of the score."""
    activations, weights = drawn(3, 5, 3, 4).abs(), drawn(4, 5, seed=1)

    def head(x):
        return x.mean((2, 3)) @ weights.T

    maps = ablationcam(lambda changed, _: head(changed), activations, CLASSES, head(activations), relu=False)
    drops = weights[CLASSES] * activations.mean((2, 3)).unsqueeze(1)
    torch.testing.assert_close(maps, torch.einsum("njc,nchw->njhw", drops, activations))


def test_rows_say_which_image_the_activations_are_of():
    """What follows the layer may need more of the image than its activations."""
    activations, extra = drawn(3, 5, 3, 4), drawn(3, 4, seed=1)

    def head(x, rows):
        return x.sum((1, 2, 3)).unsqueeze(1) * extra[rows]

    maps = ablationcam(head, activations, CLASSES, head(activations, torch.arange(3)), batch_size=4, relu=False)
    drops = activations.sum((2, 3)).unsqueeze(1) * extra.gather(1, CLASSES).unsqueeze(2)
    torch.testing.assert_close(maps, torch.einsum("njc,nchw->njhw", drops, activations))


def test_batches_stay_small_and_silent_channels_cost_nothing(network, head):
    sizes = []

    def counted(function):
        def call(x, *_):
            sizes.append(len(x))
            return function(x)

        return call

    images, activations = drawn(3, 3, 9, 11), drawn(3, 5, 3, 4)
    activations[0, 1:4] = 0
    scorecam(counted(score_of(network)), images, activations, CLASSES, batch_size=7)
    assert sizes == [7, 5]
    sizes.clear()
    ablationcam(counted(head), activations, CLASSES, head(activations), batch_size=5)
    assert sizes == [5, 5, 2]


def test_each_image_alone_is_as_in_the_batch(network, head):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1)
    maps = scorecam(score, images, activations, CLASSES)
    dropped = ablationcam(lambda changed, _: head(changed), activations, CLASSES, head(activations))
    for i in range(3):
        one = slice(i, i + 1)
        alone = scorecam(score, images[one], activations[one], CLASSES[one])
        torch.testing.assert_close(alone, maps[one])
        alone = ablationcam(lambda changed, _: head(changed), activations[one], CLASSES[one], head(activations[one]))
        torch.testing.assert_close(alone, dropped[one])


def test_nothing_is_differentiated_or_changed(network, head):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4, seed=1).requires_grad_()
    before = activations.detach().clone()
    scores = head(activations)
    assert not scorecam(score, images, activations, CLASSES).requires_grad
    assert not ablationcam(lambda changed, _: head(changed), activations, CLASSES, scores).requires_grad
    assert torch.equal(activations, before)


def test_flat_channels_alone_give_an_empty_map(network):
    maps = scorecam(score_of(network), drawn(3, 3, 9, 11), torch.full((3, 5, 3, 4), 2.0), CLASSES)
    assert not maps.any()
    assert maps.shape == (3, 2, 3, 4)


def test_halves_are_summed_in_single_precision(network):
    half = network.to(torch.bfloat16)

    def score(images):
        assert images.dtype == torch.bfloat16
        return half(images).mean(2)

    activations = drawn(3, 5, 3, 4, seed=1).bfloat16()
    assert scorecam(score, drawn(3, 3, 9, 11).bfloat16(), activations, CLASSES).dtype == torch.float32

    def head(changed, _):
        assert changed.dtype == torch.bfloat16
        return changed.mean((2, 3))[:, :4]

    assert ablationcam(head, activations, CLASSES, head(activations, None)).dtype == torch.float32


def test_other_shapes_and_sizes_are_refused(network, head):
    score, images, activations = score_of(network), drawn(3, 3, 9, 11), drawn(3, 5, 3, 4)
    with pytest.raises(UserError, match=r"\(2, 2\)\], expected images \(N, 3, H, W\), activations \(N, C, h, w\)"):
        scorecam(score, images, activations, CLASSES[:2])
    with pytest.raises(UserError, match="batch_size is 16 and channels 0, expected 1 or more"):
        scorecam(score, images, activations, CLASSES, channels=0)
    with pytest.raises(
        UserError, match=r"\(2, 4\)\], expected activations \(N, C, h, w\), classes \(N, J\) and scores"
    ):
        ablationcam(lambda changed, _: head(changed), activations, CLASSES, head(activations)[:2])
    with pytest.raises(UserError, match="batch_size is 0, expected 1 or more"):
        ablationcam(lambda changed, _: head(changed), activations, CLASSES, head(activations), batch_size=0)
