"""Finer-CAM: evidence that distinguishes a class from similar classes."""

from __future__ import annotations

from typing import Literal

import torch

from wsl.cam.weighting import exact
from wsl.errors import UserError


def finer_coefficients(
    scores: torch.Tensor,
    classes: torch.Tensor,
    *,
    alpha: float = 1.0,
    references: int = 3,
    weights: Literal["softmax", "uniform"] = "softmax",
) -> torch.Tensor:
    """The coefficients of all scores in the targets of Finer-CAM: 1 for the class, negative for its references.

    A class's references are the other classes whose scores are nearest to its own. Their coefficients sum to -`alpha`,
    and are equal or proportional to the softmax of their scores. Maps that are linear in the scores combine in the same
    way: for class activation maps (N, K, h, w) the result is
    ``torch.einsum("njk,nkhw->njhw", coefficients, maps)``, without a backward pass.

    Shape:
        Scores (N, K) and classes (N, J), integers, to (N, J, K), detached, in at least float32. If there are fewer than
        `references` other classes, all of them are references.

    Raises:
        UserError: scores or classes have another shape, there is only one class or no reference, or weights is unknown.

    >>> finer_coefficients(torch.tensor([[3.0, 2.0, -9.0]]), torch.tensor([[0]]), alpha=0.5, references=1).tolist()
    [[[1.0, -0.5, 0.0]]]
    """
    if scores.ndim != 2 or classes.ndim != 2 or len(scores) != len(classes):
        shapes = f"{tuple(scores.shape)} and {tuple(classes.shape)}"
        raise UserError(f"scores and classes have shapes {shapes}, expected (N, K) and (N, J)")
    if references < 1 or scores.shape[1] < 2:
        given = f"{references} references among {scores.shape[1]} classes"
        raise UserError(f"{given}, expected 1 or more among 2 or more: Finer-CAM compares a class with others")
    if weights not in ("softmax", "uniform"):
        raise UserError(f"weights is {weights!r}, expected 'softmax' or 'uniform'")
    values = exact(scores.detach())
    distances = (values.unsqueeze(1) - values.gather(1, classes).unsqueeze(2)).abs()
    # Another class of the same score also has distance 0, so the class itself is excluded by its index.
    distances.scatter_(2, classes.unsqueeze(2), torch.inf)
    nearest = distances.topk(min(references, scores.shape[1] - 1), largest=False).indices
    near_scores = values.unsqueeze(1).expand_as(distances).gather(2, nearest)
    shares = (near_scores if weights == "softmax" else torch.zeros_like(near_scores)).softmax(2)
    coefficients = torch.zeros_like(distances).scatter_(2, nearest, -alpha * shares)
    return coefficients.scatter_(2, classes.unsqueeze(2), 1.0)


def finer_targets(
    scores: torch.Tensor,
    classes: torch.Tensor,
    *,
    alpha: float = 1.0,
    references: int = 3,
    weights: Literal["softmax", "uniform"] = "softmax",
) -> torch.Tensor:
    """The scores to differentiate for Finer-CAM: a class's score minus those of the classes nearest to it.

    The target is ``y_c - alpha * sum_t p_t y_t`` over the references t, where p is the softmax over their scores. Its
    gradients, given to any gradient method, show what is specific to the class; parts that it shares with its
    references cancel, so maps are smaller than the object.

    The weights p are constants here. In the authors' code and in pytorch-grad-cam they are differentiated as well,
    which adds gradients that push the references apart; the target is then no longer a difference of scores, nor its
    map a difference of maps. TorchCAM takes the plain mean (``weights="uniform"``, `alpha` 0.6).

    Shape:
        Scores (N, K) and classes (N, J), integers, to targets (N, J), differentiable in the scores.

    Raises:
        UserError: as for `finer_coefficients`.

    Source: Zhang et al., Finer-CAM: Spotting the difference reveals finer details for visual explanation, CVPR 2025.

    >>> finer_targets(torch.tensor([[3.0, 2.0, -9.0]]), torch.tensor([[0, 1]]), references=1).tolist()
    [[1.0, -1.0]]
    """
    coefficients = finer_coefficients(scores, classes, alpha=alpha, references=references, weights=weights)
    return (coefficients * exact(scores).unsqueeze(1)).sum(2)
