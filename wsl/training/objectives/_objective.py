"""The base class of all objectives."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from torch import Tensor

from heads import HeadOutput
from heads._specified import Specified
from wsl.errors import UserError


class Pass(NamedTuple):
    """A forward pass: its inputs, its features, and a function that runs the network again.

    ``inputs`` are normalised images (N, 3, H, W), or cached features if the backbone is frozen. ``run`` returns the
    output of the same network for other inputs. ``features`` (N, C, h, w) are the input of the head, and ``progress``
    is the fraction of the training that is done, in [0, 1).
    """

    inputs: Tensor
    run: Callable[[Tensor], HeadOutput]
    features: Tensor
    progress: float


class Objective(Specified):
    """Base class of objectives: ``objective(output, targets, mask)`` is the loss of a batch, a scalar.

    A subclass defines a sum over the batch (`total`) and its divisor (`count`). Both add up over the parts of a batch,
    so that a step is the same for any number of processes and parts.

    Class attributes state its requirements: ``reads_maps`` (it reads class maps, which are then computed in full
    precision) and ``runs_again`` (it changes the images and runs them through the network again). ``classifies`` marks
    a loss of scores, of which a sum has exactly one. ``given`` (a `Pass`) describes the forward pass.

    Shape:
        ``output.scores`` (N, K), ``output.maps`` (N, K, h, w); ``targets`` (N, K) in [0, 1]; ``mask`` (N, K), the
        weight of each (image, class) pair: 0 if the label is unknown, or if the image only fills the batch.

    >>> import torch
    >>> from wsl.training.objectives import BCE
    >>> BCE()(HeadOutput(torch.zeros(1, 2), torch.zeros(1, 2, 1, 1)), torch.tensor([[1.0, 0]]), torch.ones(1, 2))
    tensor(0.6931)
    """

    reads_maps: ClassVar[bool] = False
    runs_again: ClassVar[bool] = False
    classifies: ClassVar[bool] = False

    def forward(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None = None) -> Tensor:
        """The loss of a batch.

        Raises:
            UserError: targets or mask have another shape than the scores, or ``given`` is missing where it is read.
        """
        scores = output.scores
        if not scores.shape == targets.shape == mask.shape:
            raise UserError(
                f"targets are {tuple(targets.shape)} and the mask {tuple(mask.shape)}: expected both to be "
                f"{tuple(scores.shape)}, as the scores"
            )
        targets, mask = targets.to(scores.dtype), mask.to(scores.dtype)
        return self.total(output, targets, mask, given) / divisor(self.count(targets, mask))

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum of losses over the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no total")

    def count(self, targets: Tensor, mask: Tensor) -> Tensor:
        """The divisor of the sum: by default the number of images with a known label."""
        return images_known(mask).sum()


def needed(given: Pass | None, term: Objective) -> Pass:
    """The forward pass that a term reads.

    Raises:
        UserError: it is not given.
    """
    if given is None:
        raise UserError(f"{term} reads the forward pass: expected a wsl.training.objectives.Pass as `given`")
    return given


def images_known(mask: Tensor) -> Tensor:
    """1 for each image with a known label, else 0: (N, K) to (N,)."""
    return (mask > 0).any(1).to(mask.dtype)


def divisor(count: Tensor) -> Tensor:
    """The count as a divisor: 1 in place of 0, where the sum is 0 too.

    >>> import torch
    >>> divisor(torch.tensor([0.0, 0.5, 3.0])).tolist()
    [1.0, 0.5, 3.0]
    """
    return count + (count == 0).to(count.dtype)
