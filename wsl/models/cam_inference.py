"""A classifier with a CAM method, ready to run on one device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wsl.cam.explainer import Explainer, Inside
from wsl.cam.methods import Method
from wsl.models.device import autocast
from wsl.models.inference import cast_weights
from wsl.models.protocol import LazyOutput, to_probabilities


class InferenceCam:
    """A copy of a `CamLocalizer`'s network for one device and one arithmetic."""

    def __init__(
        self,
        net: nn.Module,
        score: Callable[[torch.Tensor], torch.Tensor],
        method: Method,
        inside: Inside,
        device: torch.device,
        dtype: torch.dtype,
        *,
        multi_label: bool,
    ) -> None:
        if dtype != torch.float32:
            cast_weights(net, dtype)
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._dtype, self._multi_label = device, dtype, multi_label
        self._explainer = Explainer(
            net, score, method, inside, probabilities=lambda scores: self.probabilities(scores).to(scores)
        )

    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        """Scores and lazy maps of normalised images (N, 3, H, W)."""
        with autocast(self._device, self._dtype):
            explained = self._explainer(images)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            with autocast(self._device, self._dtype):
                return explained.maps_of(classes)

        return LazyOutput(explained.scores.float(), maps_of)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self._multi_label)
