"""A classifier with a CAM method, prepared for inference on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from wsl.cam.explainer import Explainer, Inside
from wsl.cam.methods import Method
from wsl.models.backbone import Backbone
from wsl.models.device import autocast
from wsl.models.grid import Grid, trace
from wsl.models.protocol import Features, LazyOutput, to_probabilities
from wsl.models.taps import TapReader


class InferenceCam:
    """A copy of a `CamLocalizer`'s network for one device and one precision.

    `backbone` gives the intermediate features of `net`; without it there are none.
    """

    def __init__(
        self,
        net: nn.Module,
        score: Callable[[torch.Tensor], torch.Tensor],
        method: Method,
        inside: Inside,
        backbone: Backbone | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        multi_label: bool,
    ) -> None:
        self._net, self._score, self._backbone = net, score, backbone
        self._device, self._dtype, self._multi_label = device, dtype, multi_label
        self._explainer = Explainer(
            net,
            score,
            method,
            inside,
            probabilities=lambda scores: self.probabilities(scores).to(scores),
            places=self._grids_of,
        )
        self._layers = (*inside.layers, *inside.blocks[-1:])
        self._taps = None if backbone is None else TapReader(backbone)
        self._grids: dict[tuple[int, int], Mapping[str, Grid | None]] = {}

    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        """Scores, lazy maps and, if requested, intermediate features of normalised images (N, 3, H, W)."""
        size = (images.shape[-2], images.shape[-1])
        features: tuple[Features, ...] = ()
        with autocast(self._device, self._dtype):
            if taps and self._backbone is not None and self._taps is not None:
                grids = self._backbone.grids(size, self._taps)
                with self._taps.reading() as read:
                    explained = self._explainer(images)
                layers = [read[name].detach() for name in self._backbone.taps]
                features = tuple(map(Features, layers, grids.taps))
            else:
                explained = self._explainer(images)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            with autocast(self._device, self._dtype):
                return explained.maps_of(classes)

        grid = None if explained.layer is None else self._grids_of(size).get(explained.layer)
        return LazyOutput(explained.scores.float(), maps_of, grid, features)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self._multi_label)

    def _grids_of(self, size: tuple[int, int]) -> Mapping[str, Grid | None]:
        """The positions of the cells of each layer's map, found by one forward pass of zeros and cached."""
        known = self._grids.get(size)
        if known is None:
            with torch.inference_mode(False), autocast(self._device, self._dtype):
                zeros = torch.zeros((1, 3, *size), device=self._device)
                placements = trace(self._net, zeros, self._layers, call=self._score)
            known = self._grids[size] = {layer: placed.grid for layer, placed in placements.items()}
        return known
