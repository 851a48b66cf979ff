"""Sums of objectives, as named by ``--loss``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from heads import HeadOutput
from wsl.training.objectives._objective import Objective, Pass


class ObjectiveSum(nn.Module):
    """A sum of objectives, such as ``bce + puzzle(alpha=4)``.

    >>> from wsl.training.objectives import BCE, Puzzle
    >>> ObjectiveSum([BCE(), Puzzle(alpha=4)])
    bce + puzzle(tiles=2, alpha=4, ramp=0.5)
    """

    def __init__(self, terms: Sequence[Objective]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms))

    @property
    def objectives(self) -> list[Objective]:
        """The terms."""
        return [term for term in self.terms if isinstance(term, Objective)]

    @property
    def reads_maps(self) -> bool:
        """Whether a term reads class maps."""
        return any(term.reads_maps for term in self.objectives)

    def totals(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass) -> Tensor:
        """The sum of each term over the batch, (terms,)."""
        return torch.stack([term.total(output, targets, mask, given) for term in self.objectives])

    def counts(self, targets: Tensor, mask: Tensor) -> Tensor:
        """The divisor of each term, (terms,)."""
        return torch.stack([term.count(targets, mask) for term in self.objectives])
