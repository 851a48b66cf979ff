"""Rollout, gradient rollout and LeGrad against products of whole matrices."""

import pytest
import torch

from wsl.cam.gradient_rollout import gradient_rollout
from wsl.cam.legrad import legrad
from wsl.cam.rollout import rollout
from wsl.errors import UserError

BLOCKS, N, HEADS, T = 4, 3, 2, 7


@pytest.fixture
def attentions():
    logits = torch.randn(BLOCKS, N, HEADS, T, T, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return list(logits.softmax(-1))


@pytest.fixture
def gradients():
    return list(torch.randn(BLOCKS, N, HEADS, T, T, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


def of_image(blocks, image):
    return [block[image].tolist() for block in blocks]


@pytest.mark.parametrize("start", [0, 1, 3])
def test_they_follow_their_definitions(attentions, gradients, start, reference):
    rolled = rollout(attentions, start=start)
    weighted = gradient_rollout(attentions, gradients, start=start)
    summed = legrad(gradients[start:])
    for i in range(N):
        a, g = of_image(attentions, i), of_image(gradients, i)
        for got, expected in (
            (rolled, reference.cams.rollout(a, start)),
            (weighted, reference.cams.gradient_rollout(a, g, start)),
            (summed, reference.cams.legrad(g[start:])),
        ):
            torch.testing.assert_close(got[i], torch.tensor(expected).double())


@pytest.mark.parametrize("token", [0, 4, None])
def test_the_rows_of_rollout_sum_to_one(attentions, token):
    unequal = [3 * attention for attention in attentions]  # rows are normalised whatever they sum to
    torch.testing.assert_close(rollout(unequal, token=token).sum(-1), torch.ones(N, dtype=torch.float64))


def test_the_mean_of_all_queries_is_the_mean_of_the_rows(attentions, gradients):
    rows = torch.stack([rollout(attentions, token=token) for token in range(T)])
    torch.testing.assert_close(rollout(attentions, token=None), rows.mean(0))
    rows = torch.stack([gradient_rollout(attentions, gradients, token=token) for token in range(T)])
    torch.testing.assert_close(gradient_rollout(attentions, gradients, token=None), rows.mean(0))


def test_a_permutation_of_the_patches_permutes_the_relevance(attentions, gradients):
    order = torch.tensor([0, *(torch.randperm(T - 1, generator=torch.Generator().manual_seed(2)) + 1).tolist()])

    def permuted(blocks):
        return [block[..., order, :][..., order] for block in blocks]

    torch.testing.assert_close(rollout(permuted(attentions)), rollout(attentions)[:, order])
    torch.testing.assert_close(legrad(permuted(gradients)), legrad(gradients)[:, order])
    torch.testing.assert_close(
        gradient_rollout(permuted(attentions), permuted(gradients)), gradient_rollout(attentions, gradients)[:, order]
    )


def test_one_call_serves_all_classes(attentions, gradients):
    many = [torch.stack([gradient, -gradient, 2 * gradient]) for gradient in gradients]
    maps = gradient_rollout(attentions, many)
    assert maps.shape == (3, N, T)
    for j, factor in enumerate((1, -1, 2)):
        scaled = [factor * gradient for gradient in gradients]
        torch.testing.assert_close(maps[j], gradient_rollout(attentions, scaled))
        torch.testing.assert_close(legrad(many)[j], legrad(scaled))


def test_an_image_alone_is_as_in_the_batch(attentions, gradients):
    for i in range(N):
        a, g = [block[i] for block in attentions], [block[i] for block in gradients]
        torch.testing.assert_close(rollout(a), rollout(attentions)[i])
        torch.testing.assert_close(gradient_rollout(a, g), gradient_rollout(attentions, gradients)[i])
        torch.testing.assert_close(legrad(g), legrad(gradients)[i])


def test_without_positive_gradients_only_the_token_itself_is_relevant(attentions, gradients):
    negative = [-gradient.abs() for gradient in gradients]
    assert torch.equal(gradient_rollout(attentions, negative)[0], torch.eye(T, dtype=torch.float64)[0])
    assert not legrad(negative).any()


def test_halves_and_autocast_are_computed_in_single_precision(attentions, gradients):
    a, g = [block.bfloat16() for block in attentions], [block.bfloat16() for block in gradients]
    with torch.autocast("cpu", torch.bfloat16):
        rolled, weighted, summed = rollout(a), gradient_rollout(a, g), legrad(g)
    assert {each.dtype for each in (rolled, weighted, summed)} == {torch.float32}
    torch.testing.assert_close(rolled, rollout([block.float() for block in a]))
    torch.testing.assert_close(weighted, gradient_rollout([b.float() for b in a], [b.float() for b in g]))
    torch.testing.assert_close(summed, legrad([block.float() for block in g]))


def test_other_shapes_are_refused(attentions, gradients):
    with pytest.raises(UserError, match=r"4 blocks from 4 on have attentions \[\], expected one block or more"):
        rollout(attentions, start=4)
    with pytest.raises(UserError, match=r"expected one block or more of \(\.\.\., heads, T, T\)"):
        legrad([gradients[0], gradients[1][..., :5, :5]])
    with pytest.raises(UserError, match="4 attentions and 3 gradients, expected one of each per block"):
        gradient_rollout(attentions, gradients[:3])
