"""A readout of several values per class as one score."""

import torch
from torch import Tensor, nn

from heads._checks import check_positive_int


class Readout(nn.Module):
    """A weighted sum of the values of each class, with separate weights; initially their mean, without bias.

    Shape:
        (..., num_classes, values_per_class) -> (..., num_classes).

    >>> Readout(2, 4)(torch.tensor([[1.0, 1.0, 1.0, 5.0], [0.0, 0.0, 0.0, 4.0]])).tolist()
    [2.0, 1.0]
    """

    def __init__(self, num_classes: int, values_per_class: int) -> None:
        super().__init__()
        self.num_classes = check_positive_int(num_classes, "num_classes")
        self.values_per_class = check_positive_int(values_per_class, "values_per_class")
        self.weight = nn.Parameter(torch.full((self.num_classes, self.values_per_class), 1 / self.values_per_class))

    def forward(self, values: Tensor) -> Tensor:
        """Values to scores."""
        return (self.weight * values).sum(-1)

    def extra_repr(self) -> str:
        """The arguments in the repr."""
        return f"num_classes={self.num_classes}, values_per_class={self.values_per_class}"
