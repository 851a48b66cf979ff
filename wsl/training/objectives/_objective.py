"""What all objectives share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from torch import Tensor

from heads import HeadOutput
from heads._specified import Specified


class Pass(NamedTuple):
    """The forward pass that an objective judges: what went in, and how to run the network again.

    ``inputs`` are normalised images (N, 3, H, W), or cached features where the backbone is frozen. ``run`` gives the
    output of the same network for other inputs. ``features`` (N, C, h, w) are those that the head read, and
    ``progress`` is the part of the training that is done, in [0, 1).
    """

    inputs: Tensor
    run: Callable[[Tensor], HeadOutput]
    features: Tensor
    progress: float


class Objective(Specified):
    """What is minimised: ``objective(output, targets, mask)`` is the loss of a batch, a scalar.

    A subclass says what the loss is the sum of (`total`) and what that is divided by (`count`). Both add up over the
    parts of a batch, so that a step is the same whatever number of processes and parts it is divided among.

    The attributes say what it needs: ``reads_maps`` (class maps, which are then computed in full precision), and
    ``runs_again`` (images, which it changes and runs through the network once more). ``classifies`` is whether it can
    be the loss of a classifier, of which a sum has exactly one. With ``given`` (a `Pass`) the objective is told of the
    forward pass.

    Shape:
        ``output.scores`` (N, K), ``output.maps`` (N, K, h, w); ``targets`` (N, K) in [0, 1]; ``mask`` (N, K), the
        weight of each pair of an image and a class: 0 where it is not known, or the image is there to fill the batch.

    >>> import torch
    >>> from wsl.training.objectives import BCE
    >>> BCE()(HeadOutput(torch.zeros(1, 2), torch.zeros(1, 2, 1, 1)), torch.tensor([[1.0, 0]]), torch.ones(1, 2))
    tensor(0.6931)
    """

    reads_maps: ClassVar[bool] = False
    runs_again: ClassVar[bool] = False
    classifies: ClassVar[bool] = False

    def forward(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None = None) -> Tensor:
        """The loss of a batch."""
        return self.total(output, targets, mask, given) / divisor(self.count(targets, mask))

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no total")

    def count(self, targets: Tensor, mask: Tensor) -> Tensor:
        """What the sum is divided by: by default the number of images of which a label is known."""
        return images_known(mask).sum()


def images_known(mask: Tensor) -> Tensor:
    """1 for each image of which a label is known, (N, K) to (N,)."""
    return (mask > 0).any(1).to(mask.dtype)


def divisor(count: Tensor) -> Tensor:
    """A count to divide by; where nothing counts, the sum is 0 and stays so.

    >>> import torch
    >>> divisor(torch.tensor([0.0, 0.5, 3.0])).tolist()
    [1.0, 0.5, 3.0]
    """
    return count + (count == 0).to(count.dtype)
