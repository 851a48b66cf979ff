"""Models as files that run without this toolkit: torch.export and ONNX, with dynamic batch and image size."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from wsl import config
from wsl.errors import RunError, UserError, first_line
from wsl.files import replacing
from wsl.models.decoder import levels
from wsl.models.fuse import fuse_batch_norm
from wsl.models.gradient_head import GradientHead
from wsl.models.grid import Grid
from wsl.models.localizer import Localizer
from wsl.models.taps import TapReader

log = logging.getLogger("wsl")

METADATA_KEY = "wsl-toolkit"
INPUT, OUTPUTS, DECODED, DETECTED = "images", ("scores", "maps"), "decoded", ("boxes", "box_scores")
# The newest opset that onnxruntime 1.20 reads and in which every network here can be written.
_OPSET = 20
# For logits around ten; a fused batch norm and another order of sums stay well below it.
_TOLERANCE = 1e-3
# Maximum length of a size's expression in characters: 60 in GoogLeNet, 100 in a vision transformer, 246 in Swin.
_LONGEST = 105
_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def export_model(
    model: Localizer, path: Path, kind: Literal["onnx", "torch"], *, image_size: int | None = None
) -> float:
    """Write a model as ONNX or as a torch.export program, and return the largest difference of its outputs.

    The input ``images`` is (N, 3, H, W), normalised with the mean and standard deviation in the metadata; the outputs
    are ``scores`` (N, K), ``maps`` (N, K, h, w), for a model with a map decoder its probabilities ``decoded``
    (N, K, h', w'), and for one with a detector ``boxes`` (N, L, 4) and ``box_scores`` (N, L, K) at each of its places,
    before non-maximum suppression. N, H and W are dynamic. H and W are fixed to `image_size` (by default the model's
    own) if sizes inside the network are not simple expressions of them, as with padded windows: Swin, networks with
    TensorFlow padding, and vision transformers. The metadata (`METADATA_KEY`) is JSON: classes, preprocessing, whether
    scores are for a sigmoid or a softmax, and the positions of a map's cells, at any image size or, if they depend on
    it, at the given one. The result is the largest absolute difference over a batch of another size than the traced
    one.

    Raises:
        UserError: the head has no class maps, the suffix is not .onnx or .pt2, the onnx extra is missing, or the
            network cannot be traced with dynamic sizes.
        RunError: the outputs of the exported model differ from the model's.
    """
    if path.suffix != _SUFFIXES[kind]:
        raise UserError(f"{path} does not fit the format {kind}: expected a name that ends with {_SUFFIXES[kind]}")
    if isinstance(model.head, GradientHead):
        raise UserError(
            f"{model.recipe.pooling} has no class maps of its own, and gradient maps cannot be exported: train a "
            "pooling of class maps such as gap, or export model.head.classifier yourself"
        )
    side = image_size or model.preprocessing.image_size
    net = _Outputs(fuse_batch_norm(model), side)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn((2, 3, side, side), generator=generator)
    program, sizes_open = _trace(net, example, model)
    other = torch.randn((3, 3, side + 64 * sizes_open, side), generator=generator)
    description = describe(model, side, sizes_open=sizes_open)
    with torch.no_grad(), replacing(path) as temporary:
        expected = net(other)
        if kind == "torch":
            buffer = io.BytesIO()  # torch aborts the process if it writes to a file and the disk is full
            torch.export.save(program, buffer, extra_files={METADATA_KEY: description})
            temporary.write_bytes(buffer.getbuffer())
            found = torch.export.load(temporary).module()(other)
        else:
            _save_onnx(program, temporary, description, (*OUTPUTS, DECODED, *DETECTED)[: len(expected)])
            outputs = session(temporary.read_bytes(), path).run(None, {INPUT: other.numpy()})
            found = tuple(torch.from_numpy(np.asarray(output)) for output in outputs)
        difference = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
        # A probe's logits for noise may exceed a hundred, because it was not fitted to noise.
        allowed = _TOLERANCE * max(1.0, *(float(one.abs().max()) / 10 for one in expected))
        if not difference <= allowed:
            raise RunError(
                f"the exported model is off by {difference:.2g}, expected at most {allowed:.2g}: not written"
            )
    return difference


def describe(model: Localizer, side: int, *, sizes_open: bool = True) -> str:
    """The metadata of an exported file, as JSON.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> json.loads(describe(model, 64))["grid"]
    {'stride': 8.0, 'start': 4.0, 'size': None}
    """
    preprocessing = json.loads(config.to_json(model.preprocessing))
    if not sizes_open:
        preprocessing["image_size"] = side
    document = {
        "classes": list(model.classes),
        "preprocessing": preprocessing,
        "multi_label": model.recipe.multi_label,
        "pooling": model.recipe.pooling,
        "size": None if sizes_open else [side, side],
        "grid": _describe_grid(model, side, sizes_open=sizes_open),
    }
    if model.decoder is not None:
        document["decoded_grid"] = _describe_grid(model, side, sizes_open=sizes_open, decoded=True)
    if model.probe is not None:
        document["probe"] = model.recipe.probe
    return json.dumps(document, ensure_ascii=False)


def _describe_grid(model: Localizer, side: int, *, sizes_open: bool, decoded: bool = False) -> dict[str, Any] | None:
    """The grid of the cells, and the image size (height, width) for which it holds; None for every size."""
    backbone = model.backbone

    def of(side: int) -> Grid | None:
        grids = backbone.grids((side, side))
        return grids.pyramid[0] if decoded and grids.pyramid else grids.map

    grid = of(side)
    if grid is None:
        return None
    if not sizes_open:
        return {"stride": grid.stride, "start": grid.start, "size": [side, side]}
    # For every stride up to 32, padding of a remainder shows at one of these sizes.
    others = {of(side + more) for more in (1, 2, 4, 8, 16)}
    return {"stride": grid.stride, "start": grid.start, "size": None if others == {grid} else [side, side]}


def session(file: bytes, name: object) -> Any:
    """An onnxruntime session for the bytes of a model file, on one core; callers may run several in parallel.

    Raises:
        UserError: the onnx extra is missing, or the file is not an ONNX model.
    """
    onnxruntime = _import("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        reason = first_line(error)
        raise UserError(f"{name} cannot be run ({reason}): expected an ONNX model of wsl-export") from error


class _Outputs(nn.Module):
    """The model with plain tensors as outputs, for the exporters."""

    def __init__(self, model: Localizer, side: int) -> None:
        super().__init__()
        self.model = model
        self._grids = model.backbone.grids((side, side))
        self._taps = TapReader(model.backbone)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        backbone, decoder = self.model.backbone, self.model.decoder
        if decoder is None:
            return tuple(self.model(images))
        with self._taps.reading() as read:
            scores, maps = self.model(images)
        shown, size = levels(backbone, read, self._grids), (images.shape[-2], images.shape[-1])
        decoded = decoder(shown, size).sigmoid()
        if self.model.detector is None:
            return scores, maps, decoded
        found = self.model.detector(shown, size)
        return scores, maps, decoded, found.xyxy, found.scores


def _trace(net: nn.Module, example: torch.Tensor, model: Localizer) -> tuple[torch.export.ExportedProgram, bool]:
    """The network's program, and whether its image size is open."""
    free, name = torch.export.Dim.DYNAMIC, model.recipe.backbone
    with torch.no_grad():
        try:
            with _watching_sizes(net):
                program = torch.export.export(net.eval(), (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
            # Run a non-square image, because the trace may hold only for square ones, as with a transformer's grid.
            program.module()(torch.zeros(1, 3, example.shape[2] + 64, example.shape[3]))
            return program, True
        except Exception as error:  # torch.export raises a dozen types, most of them private
            problem = error
        try:
            closed = torch.export.export(net, (example,), dynamic_shapes=({0: free},))
        except Exception:
            reason = str(problem).strip().splitlines()[0][:200]
            raise UserError(
                f"{name} cannot be exported with dynamic sizes ({reason}): expected a convolutional network, such as a "
                "ResNet or MobileNet"
            ) from problem
    log.warning("%s cannot be exported for every image size: exporting it for %d x %d", name, *example.shape[2:])
    return closed, False


@contextlib.contextmanager
def _watching_sizes(net: nn.Module) -> Iterator[None]:
    """Stop if a size inside the network becomes a long expression of the image's size.

    Torch takes hours to reason about such expressions: each padded layer makes them two or three times as long.
    """

    def see(layer: nn.Module, inputs: Any, output: Any) -> None:
        for size in map(str, getattr(output, "shape", ())):
            if len(size) > _LONGEST:
                raise RuntimeError(f"a size inside is an expression of {len(size)} characters")

    hooks = [module.register_forward_hook(see) for module in net.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _save_onnx(program: torch.export.ExportedProgram, path: Path, description: str, outputs: Sequence[str]) -> None:
    _import("onnx")
    _import("onnxscript")
    with warnings.catch_warnings():
        # The exporter warns of coming changes in itself and its libraries.
        warnings.simplefilter("ignore")
        converted = torch.onnx.export(
            program, dynamo=True, opset_version=_OPSET, input_names=[INPUT], output_names=outputs, verbose=False
        )
    assert converted is not None
    converted.model.metadata_props[METADATA_KEY] = description
    converted.save(str(path), external_data=False)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError("ONNX needs the onnx extra: pip install 'wsl-toolkit[onnx]'") from error
