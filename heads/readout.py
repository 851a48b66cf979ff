"""Several numbers of each class, weighed into one score."""

import torch
from torch import Tensor, nn

from heads._checks import check_positive_int


class Readout(nn.Module):
    """Each class's own weighted sum of its numbers; it begins as their mean, and has no bias.

    Shape:
        (..., num_classes, numbers) -> (..., num_classes).

    >>> Readout(2, 4)(torch.tensor([[1.0, 1.0, 1.0, 5.0], [0.0, 0.0, 0.0, 4.0]])).tolist()
    [2.0, 1.0]
    """

    def __init__(self, num_classes: int, numbers: int) -> None:
        super().__init__()
        self.num_classes = check_positive_int(num_classes, "num_classes")
        self.numbers = check_positive_int(numbers, "numbers")
        self.weight = nn.Parameter(torch.full((self.num_classes, self.numbers), 1 / self.numbers))

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers to scores."""
        return (self.weight * numbers).sum(-1)

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr."""
        return f"num_classes={self.num_classes}, numbers={self.numbers}"
