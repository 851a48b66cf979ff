"""A network together with its objective: from inputs and targets to the sums of the loss terms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heads import AdversarialClassifier, HeadOutput
from wsl.errors import RunError, UserError
from wsl.models import GradientHead, Localizer, autocast
from wsl.training.checkpointing import Checkpointing
from wsl.training.objectives import ObjectiveSum, Pass


class Example(NamedTuple):
    """The data of a step: inputs of the network, targets (N, K) in [0, 1], and their weights, ``mask`` (N, K).

    ``index`` holds the indices of the images in the sample set, and ``images`` is the number of them that count.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    index: Tensor  # type: ignore[assignment] # hides tuple.index, which is not needed here
    images: int


class TrainedNetwork(nn.Module):
    """A localizer, or its head alone on cached features, with its objective.

    For a head with two classifiers (`heads.AdversarialClassifier`) the objective is the sum over both. The features
    erased for the second classifier are those of the present classes: known classes with a target above 0.

    With ``checkpointing`` the backbone runs in parts that are recomputed in the backward pass.

    Raises:
        UserError: the network does not provide what the objective needs, or the backbone has no parts to recompute.
    """

    def __init__(
        self,
        model: Localizer,
        objective: ObjectiveSum,
        dtype: torch.dtype,
        *,
        features: bool,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self._checkpointing = Checkpointing(model.backbone) if checkpointing else None
        self.model, self.objective = model, objective
        self._dtype, self._features = dtype, features
        self.pair_weights: Tensor | None = None
        self._read: Callable[..., tuple[tuple[HeadOutput, ...], Tensor]] = self._run
        for term in objective.objectives:
            if features and term.runs_again:
                raise UserError(
                    f"--loss {term} runs changed images through the network, but a frozen backbone uses cached "
                    "features: leave out --freeze-backbone, or that term"
                )
            if term.reads_maps and isinstance(model.head, AdversarialClassifier):
                raise UserError(
                    f"--loss {term} reads the class maps of one classifier, but --head {model.recipe.head} has two: "
                    "expected a loss of scores, such as bce, or another head"
                )
            if term.reads_maps and isinstance(model.head, GradientHead):
                raise UserError(
                    f"--loss {term} reads class maps, but {model.recipe.pooling} has none in training: expected a "
                    "pooling such as gap, or a loss such as bce"
                )

    @property
    def could_checkpoint(self) -> bool:
        """Whether the backbone runs in training and keeps all its activations."""
        return self._checkpointing is None and not self._features

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that require gradients."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def compile(self, *args: object, **kwargs: object) -> None:
        """Compile the network and its pooling, for the single batch shape of a training."""
        self._read = torch.compile(self._run, dynamic=False)

    def weighted(self, example: Example) -> Example:
        """The example with its mask multiplied by ``pair_weights`` (2, K), for absent and for present classes."""
        if self.pair_weights is None:
            return example
        absent, present = self.pair_weights
        weights = example.targets * present + (1 - example.targets) * absent
        return example._replace(mask=example.mask * weights)

    def forward(self, example: Example, progress: float = 0.0) -> Tensor:
        """The sum of each term of the objective over the batch, (terms,)."""
        inputs, targets, mask = example.inputs, example.targets, example.mask
        present = (targets > 0) & (mask > 0)
        try:
            outputs, features = self._read(inputs, present)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                f"batch norm needs more than one value per channel, and a batch of {len(inputs)} has maps of a single "
                "cell: give a larger --batch-size or --image-size, fewer parts (--accumulate), --batch-norm frozen, or "
                "--freeze-backbone"
            ) from error
        given = Pass(inputs, lambda images: self._run(images)[0][0], features, progress)
        return torch.stack([self.objective.totals(output, targets, mask, given) for output in outputs]).sum(0)

    def _run(self, inputs: Tensor, present: Tensor | None = None) -> tuple[tuple[HeadOutput, ...], Tensor]:
        """The output of each classifier in full precision, and the features that it was computed from."""
        attention = None
        with autocast(inputs.device, self._dtype):
            features = inputs
            if not self._features:
                parts = contextlib.nullcontext() if self._checkpointing is None else self._checkpointing.applied()
                with parts:
                    features, attention = self.model.encode(inputs)
            if not self.objective.reads_maps:
                outputs = self._classify(features, attention, present)
                return tuple(HeadOutput(output.scores.float(), output.maps) for output in outputs), features
        # bfloat16 maps have three digits, which are lost in a difference of maps.
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = self._classify(features.float(), attention, present)
            return tuple(HeadOutput(output.scores.float(), output.maps.float()) for output in outputs), features.float()

    def _classify(self, features: Tensor, attention: Tensor | None, present: Tensor | None) -> tuple[HeadOutput, ...]:
        """The output of each classifier of the head."""
        if isinstance(self.model.head, AdversarialClassifier):
            return self.model.head.both(features, present)
        return (self.model.classify(features, attention),)
