"""An exported ONNX model with the interface of a `Localizer`, for prediction."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heads import HeadOutput
from wsl import config
from wsl.config import Preprocessing
from wsl.documents import parse_json, reading
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.models.detector import best_places
from wsl.models.export import DECODED, DETECTED, INPUT, METADATA_KEY, OUTPUTS, session
from wsl.models.grid import Grid
from wsl.models.protocol import LazyMaps, LazyOutput, gather_maps, to_probabilities


class OnnxLocalizer(nn.Module):
    """A model written by `wsl.models.export_model`, run by onnxruntime on the CPU.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w), as for a `Localizer`.

    Raises:
        UserError: the file is not an ONNX model, or lacks classes and preprocessing.
    """

    def __init__(self, file: Path | bytes) -> None:
        super().__init__()
        path = "the ONNX model" if isinstance(file, bytes) else str(file)
        self.file = file if isinstance(file, bytes) else file.read_bytes()
        self.levels = 0
        self._session = session(self.file, path)
        names = [output.name for output in self._session.get_outputs()]
        description = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.detects: bool = names == [*OUTPUTS, DECODED, *DETECTED]
        self.decodes: bool = self.detects or names == [*OUTPUTS, DECODED]
        if description is None or not (self.decodes or names == list(OUTPUTS)):
            raise UserError(f"{path} was not written by wsl-export: it says nothing of classes and preprocessing")
        with reading(path, "a description of classes and preprocessing: export it again"):
            known = parse_json(description, path, "a description of classes and preprocessing")
            self.classes = tuple(str(name) for name in known["classes"])
            self.preprocessing = config.from_json(json.dumps(known["preprocessing"]), Preprocessing)
            self._grids = {"maps": _read_grid(known["grid"]), DECODED: _read_grid(known.get("decoded_grid"))}
            self.size = None if known.get("size") is None else tuple(int(side) for side in known["size"])
            self.multi_label = bool(known["multi_label"])
            self.probe: int | None = known.get("probe")
        for output in self._session.get_outputs()[:2]:
            if isinstance(output.shape[1], int):  # a model may leave it open
                self._check_classes(output.shape[1])

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Scores and maps of a batch.

        Raises:
            UserError: the file is for images of another size.
        """
        return HeadOutput(*self.outputs(images)[:2])

    def outputs(self, images: torch.Tensor) -> list[torch.Tensor]:
        """All outputs of the file: scores, maps and, for a model with a decoder, its maps; then those of its detector.

        Raises:
            UserError: the file is for images of another size.
        """
        if self.size not in (None, tuple(images.shape[-2:])):
            raise UserError(
                f"the ONNX model takes images of {' x '.join(map(str, self.size or ()))}, given are "
                f"{images.shape[-2]} x {images.shape[-1]}: leave the image size out, or export the run for another"
            )
        try:
            outputs = self._session.run(None, {INPUT: images.float().cpu().contiguous().numpy()})
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise UserError(f"the ONNX model cannot be run ({describe(error)}): export it again") from error
        self._check_classes(outputs[0].shape[1])
        return [torch.from_numpy(output) for output in outputs]

    def _check_classes(self, outputs: int) -> None:
        if outputs != len(self.classes):
            raise UserError(
                f"the ONNX model gives {outputs} scores and names {len(self.classes)} classes, expected as many: "
                "export it again"
            )

    def grid(self, size: tuple[int, int], output: str = "maps") -> Grid | None:
        """The positions of the maps' cells in an input of (height, width); None if the file does not say."""
        grid, known = self._grids[output]
        return grid if known in (None, size) else None

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> OnnxInference:
        """The model prepared for inference; onnxruntime computes on the CPU in the file's own precision."""
        return OnnxInference(self)


def _read_grid(known: dict[str, Any] | None) -> tuple[Grid | None, tuple[int, int] | None]:
    """The grid in a file's description and its image size; older files have no size, which means every size."""
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
        scores, *maps = (output.to(images.device) for output in self._model.outputs(images))
        found = (maps.pop(-2), maps.pop()) if self._model.detects else None
        size = (images.shape[-2], images.shape[-1])
        shown, *decoded = (
            LazyMaps(partial(gather_maps, one), self._model.grid(size, name))
            for one, name in zip(maps, ("maps", DECODED), strict=False)
        )
        return LazyOutput(
            scores,
            shown.of,
            shown.grid,
            decoded=decoded[0] if decoded else None,
            detected=None if found is None else partial(best_places, *found),
        )

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self._model.multi_label)
