"""An exported ONNX model in the place of a `Localizer`, for prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heads import HeadOutput
from wsl import config
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.export import INPUT, METADATA_KEY, OUTPUTS, session
from wsl.models.grid import Grid
from wsl.models.protocol import LazyOutput, gather_maps, to_probabilities


class OnnxLocalizer(nn.Module):
    """A model that `wsl.models.export_model` wrote, run by onnxruntime on the CPU.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w), as of a `Localizer`.

    Raises:
        UserError: the file is no ONNX model, or says nothing of classes and preprocessing.
    """

    def __init__(self, file: Path | bytes) -> None:
        super().__init__()
        path = "the ONNX model" if isinstance(file, bytes) else str(file)
        self.file = file if isinstance(file, bytes) else file.read_bytes()
        self.levels, self.decodes = 0, False
        self._session = session(self.file, path)
        names = [output.name for output in self._session.get_outputs()]
        description = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if description is None or names != list(OUTPUTS):
            raise UserError(f"{path} was not written by wsl-export: it says nothing of classes and preprocessing")
        try:
            known = json.loads(description)
            self.classes = tuple(str(name) for name in known["classes"])
            self.preprocessing = config.from_json(json.dumps(known["preprocessing"]), Preprocessing)
            self._grid, self._grid_size = _read_grid(known["grid"])
            self.size = None if known.get("size") is None else tuple(int(side) for side in known["size"])
            self.multi_label = bool(known["multi_label"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: its description cannot be read ({error}): export it again") from error

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Scores and maps of a batch.

        Raises:
            UserError: the file is for images of another size.
        """
        if self.size not in (None, tuple(images.shape[-2:])):
            raise UserError(
                f"the ONNX model takes images of {' x '.join(map(str, self.size or ()))}, given are "
                f"{images.shape[-2]} x {images.shape[-1]}: leave the image size out, or export the run for another"
            )
        scores, maps = self._session.run(None, {INPUT: images.float().cpu().contiguous().numpy()})
        return HeadOutput(torch.from_numpy(scores), torch.from_numpy(maps))

    def grid(self, size: tuple[int, int]) -> Grid | None:
        """Where in an input of (height, width) the cells of the maps lie; None where the file does not say."""
        return self._grid if self._grid_size in (None, size) else None

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> OnnxInference:
        """The model ready to run; onnxruntime computes on the CPU in the file's own arithmetic."""
        return OnnxInference(self)


def _read_grid(known: dict[str, Any] | None) -> tuple[Grid | None, tuple[int, int] | None]:
    """The grid in a file's description and the size it is for; older files name none, and mean every size."""
    if known is None:
        return None, None
    size = known.get("size")
    return Grid(float(known["stride"]), float(known["start"])), None if size is None else (int(size[0]), int(size[1]))


class OnnxInference:
    """An ONNX model with the interface of `wsl.models.InferenceModel`."""

    def __init__(self, model: OnnxLocalizer) -> None:
        self._model = model

    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        """Scores and maps of normalised images (N, 3, H, W)."""
        scores, maps = (output.to(images.device) for output in self._model(images))
        grid = self._model.grid((images.shape[-2], images.shape[-1]))
        return LazyOutput(scores, lambda classes: gather_maps(maps, classes), grid)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self._model.multi_label)
