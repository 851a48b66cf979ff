"""k-means clustering, reproducible for the same generator."""

import torch
from torch import Tensor

_MOST_ROUNDS = 100


def kmeans(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k centres of the points by k-means++ and Lloyd's algorithm, in descending order of their numbers of points.

    A centre that loses all its points moves to the point that is farthest from its own centre. Random numbers come from
    the generator, which is on the CPU whatever the device of the points.

    Shape:
        (n, C) -> (k, C).

    Source: Arthur and Vassilvitskii, k-means++, SODA 2007; Lloyd 1982.

    >>> points = torch.tensor([[0.0], [0.2], [5.0], [0.1], [5.2]])
    >>> kmeans(points, 2, torch.Generator().manual_seed(0))
    tensor([[0.1000],
            [5.1000]])
    """
    centres = _spread(points, k, generator)
    nearest = torch.full((len(points),), -1, device=points.device)
    for _ in range(_MOST_ROUNDS):
        distances, now = squared_distances(points, centres).min(1)
        if torch.equal(now, nearest):
            break
        nearest = now
        centres = _means(points, nearest, distances, k)
    counts = torch.bincount(nearest, minlength=k)
    return centres[counts.argsort(descending=True, stable=True)]


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances of every point to every centre, (n, C) and (k, C) to (n, k), never negative."""
    return (points.square().sum(1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(1)).clamp(min=0)


def _spread(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Initial centres drawn one after another, each with a chance that grows with its distance to the earlier ones."""
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    distances = squared_distances(points, points[chosen[-1:]]).squeeze(1)
    for _ in range(1, k):
        chances = distances.double().cpu()
        if not chances.any():
            chances = torch.ones_like(chances)  # every remaining point equals one that was drawn
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
        distances = torch.minimum(distances, squared_distances(points, points[chosen[-1:]]).squeeze(1))
    return points[chosen]


def _means(points: Tensor, nearest: Tensor, distances: Tensor, k: int) -> Tensor:
    """The mean of each centre's points, by a matrix product because sums by index are not reproducible on a GPU."""
    member = torch.nn.functional.one_hot(nearest, k).T.to(points.dtype)
    counts = member.sum(1, keepdim=True)
    means = member @ points / counts.clamp(min=1)
    lost = (counts.squeeze(1) == 0).nonzero().flatten()
    if len(lost):
        means[lost] = points[distances.argsort(descending=True, stable=True)[: len(lost)]]
    return means
