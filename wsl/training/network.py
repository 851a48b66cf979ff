"""A network together with what it is trained for: from inputs and targets to the sums of a loss."""

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
    """What a step learns from: inputs of the network, (N, K) targets in [0, 1] and the weight of each, ``mask``.

    ``index`` are the images in the sample set, and ``images`` is how many of them count.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    index: Tensor  # type: ignore[assignment] # hides tuple.index, which nobody needs here
    images: int


class TrainedNetwork(nn.Module):
    """A localizer, or its head alone on cached features, with its objective.

    Of a head of two classifiers (`heads.AdversarialClassifier`) the objective is the sum of both's. What the second one
    does not see are the classes present: those of targets above 0 that are known.

    With ``checkpointing`` the backbone runs in parts that are computed again in the backward pass.

    Raises:
        UserError: the objective needs what the network does not give, or no parts of the backbone are found.
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
                    f"--loss {term} shows the network changed images, and a frozen backbone keeps features: leave "
                    "--freeze-backbone out, or that term"
                )
            if term.reads_maps and isinstance(model.head, AdversarialClassifier):
                raise UserError(
                    f"--loss {term} reads the class maps of one classifier, and --head {model.recipe.head} has two: "
                    "expected a loss of scores, such as bce, or another head"
                )
            if term.reads_maps and isinstance(model.head, GradientHead):
                raise UserError(
                    f"--loss {term} reads class maps, and {model.recipe.pooling} has none in training: expected a "
                    "pooling such as gap, or a loss such as bce"
                )

    @property
    def could_checkpoint(self) -> bool:
        """Whether a backbone runs here that keeps all its activations."""
        return self._checkpointing is None and not self._features

    def trained_parameters(self) -> list[nn.Parameter]:
        """What an optimizer changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def compile(self, *args: object, **kwargs: object) -> None:
        """Compile the network and its pooling, for the one shape of batch that a training has."""
        self._read = torch.compile(self._run, dynamic=False)

    def weighted(self, example: Example) -> Example:
        """The same with pairs weighted by ``pair_weights`` (2, K): of absent and of present classes."""
        if self.pair_weights is None:
            return example
        absent, present = self.pair_weights
        weights = example.targets * present + (1 - example.targets) * absent
        return example._replace(mask=example.mask * weights)

    def forward(self, example: Example, progress: float = 0.0) -> Tensor:
        """The sum of each term of the objective, (terms,)."""
        inputs, targets, mask = example.inputs, example.targets, example.mask
        present = (targets > 0) & (mask > 0)
        try:
            outputs, features = self._read(inputs, present)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                f"batch norm needs more than one value per channel, and a batch of {len(inputs)} has maps of a single "
                "cell: give a larger --batch-size or --image-size, or --freeze-backbone"
            ) from error
        given = Pass(inputs, lambda images: self._run(images)[0][0], features, progress)
        return torch.stack([self.objective.totals(output, targets, mask, given) for output in outputs]).sum(0)

    def _run(self, inputs: Tensor, present: Tensor | None = None) -> tuple[tuple[HeadOutput, ...], Tensor]:
        """The output of each classifier in full precision, and the features that it was made of."""
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
        # Maps of bfloat16 have three digits, of which a difference of maps leaves none.
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = self._classify(features.float(), attention, present)
            return tuple(HeadOutput(output.scores.float(), output.maps.float()) for output in outputs), features.float()

    def _classify(self, features: Tensor, attention: Tensor | None, present: Tensor | None) -> tuple[HeadOutput, ...]:
        """The output of each classifier of the head."""
        if isinstance(self.model.head, AdversarialClassifier):
            return self.model.head.both(features, present)
        return (self.model.classify(features, attention),)
