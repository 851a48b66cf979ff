"""An exported ONNX model in the place of a `Localizer`, for prediction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from heads import HeadOutput
from wsl import config
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.export import INPUT, METADATA_KEY, OUTPUTS, session
from wsl.models.gradient_head import Chosen
from wsl.models.grid import Grid
from wsl.models.outputs import choose_maps, to_probabilities


class OnnxLocalizer(nn.Module):
    """A model that `wsl.models.export_model` wrote, run by onnxruntime on the CPU.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w), as of a `Localizer`.

    Raises:
        UserError: the file is no ONNX model, or says nothing of classes and preprocessing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = session(path)
        names = [output.name for output in self._session.get_outputs()]
        description = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if description is None or names != list(OUTPUTS):
            raise UserError(f"{path} was not written by wsl-export: it says nothing of classes and preprocessing")
        try:
            known = json.loads(description)
            self.classes = tuple(str(name) for name in known["classes"])
            self.preprocessing = config.from_json(json.dumps(known["preprocessing"]), Preprocessing)
            self.grid = None if known["grid"] is None else Grid(**known["grid"])
            self.multi_label = bool(known["multi_label"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: its description cannot be read ({error}): export it again") from error

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Scores and maps of a batch."""
        scores, maps = self._session.run(None, {INPUT: images.float().cpu().contiguous().numpy()})
        return HeadOutput(torch.from_numpy(scores), torch.from_numpy(maps))

    def deferred(self, images: torch.Tensor) -> tuple[torch.Tensor, Callable[[Chosen], list[torch.Tensor]]]:
        """Class scores, and a function that gives the maps of each image's chosen classes."""
        scores, maps = self(images)
        return scores, lambda chosen: choose_maps(maps, chosen)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, as `Localizer.probabilities`."""
        return to_probabilities(scores, multi_label=self.multi_label)
