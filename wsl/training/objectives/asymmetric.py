"""Asymmetric loss: easy negatives have a lower weight, and very easy negatives none."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heads import HeadOutput
from wsl.errors import UserError
from wsl.training.objectives._objective import Objective, Pass


def pair_losses(scores: Tensor, targets: Tensor, gamma_neg: float, gamma_pos: float, clip: float) -> Tensor:
    """The asymmetric loss of each (image, class) pair.

    With p the sigmoid of the score, it is ``-(1 - p)^gamma_pos * log(p)`` for a present class, and ``-q^gamma_neg *
    log(1 - q)`` with ``q = max(p - clip, 0)`` for an absent class; targets in between interpolate linearly.

    Shape:
        ``scores`` and ``targets`` (N, K); to (N, K).

    >>> import torch
    >>> pair_losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), 2, 0, 0.1)  # log 2, and -0.4^2 * log(0.6)
    tensor([[0.6931, 0.0817]])
    """
    p = scores.sigmoid()
    present = -F.logsigmoid(scores) * (1 - p).pow(gamma_pos)
    shifted = (p - clip).clamp(min=0)
    # Without clipping, the logarithm of a difference would be less accurate.
    log_absent = F.logsigmoid(-scores) if clip == 0 else (1 - shifted).log()
    absent = -log_absent * shifted.pow(gamma_neg)
    return targets * present + (1 - targets) * absent


class Asymmetric(Objective):
    """Asymmetric loss, averaged over known pairs: see `pair_losses`.

    The authors' code sums over all pairs, so its learning rates do not carry over.

    Source: Ridnik et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021, equations 4 to 7.

    >>> Asymmetric(gamma_neg=4)
    asymmetric(gamma_neg=4, gamma_pos=1, clip=0.05)
    """

    classifies = True

    def __init__(self, gamma_neg: float = 4, gamma_pos: float = 1, clip: float = 0.05) -> None:
        super().__init__()
        for name, gamma in (("gamma_neg", gamma_neg), ("gamma_pos", gamma_pos)):
            # Between 0 and 1 the gradient is infinite at a probability of 0.
            if not isinstance(gamma, int | float) or not (gamma == 0 or 1 <= gamma < 100):
                raise UserError(f"{name} is {gamma}, expected 0, or 1 or more")
        if not isinstance(clip, int | float) or not 0 <= clip < 1:
            raise UserError(f"clip is {clip}, expected a probability in [0, 1): try clip=0.05")
        self.gamma_neg, self.gamma_pos, self.clip = gamma_neg, gamma_pos, clip

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over known pairs."""
        return (pair_losses(output.scores, targets, self.gamma_neg, self.gamma_pos, self.clip) * mask).sum()

    def count(self, targets: Tensor, mask: Tensor) -> Tensor:
        """The number of known pairs."""
        return mask.sum()
