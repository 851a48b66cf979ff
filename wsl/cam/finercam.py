"""Finer-CAM: what tells a class from those that it is confused with."""

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
    """The coefficients of all scores in the targets of Finer-CAM: 1 for the class, less for its references.

    A class's references are the other classes whose scores are nearest to its own. They share -`alpha`, equally or by
    the softmax of their scores. Maps that are linear in the scores combine in the same way: with class activation
    maps (N, K, h, w) the result is ``torch.einsum("njk,nkhw->njhw", coefficients, maps)``, without a backward pass.

    Shape:
        Scores (N, K) and classes (N, J), integers, to (N, J, K), detached, in at least float32. Where fewer than
        `references` other classes exist, all of them are references.

    Raises:
        UserError: scores or classes of another shape, a single class, no reference, or unknown weights.

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
    # A class of the same score has distance 0 too: the class itself is left out by its index, not by its distance.
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
    gradients, given to any gradient method, show what is particular to the class; parts that it shares with its
    references cancel, so maps are smaller than the object.

    The weights p are constants here. In the authors' code and in pytorch-grad-cam they are differentiated too, which
    adds gradients that push the references apart from each other; the target is then no longer a difference of
    scores, and its map no difference of maps. TorchCAM takes the plain mean (``weights="uniform"``, `alpha` 0.6).

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
