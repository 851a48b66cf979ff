"""Features of a frozen backbone, computed once and stored on disk for all heads that are trained on them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl.config import RuntimeConfig, to_json
from wsl.documents.guard import describe
from wsl.errors import BadImageError, RunError
from wsl.files import remove_litter, replacing
from wsl.images import fit, read_image
from wsl.images.archives import holding_file
from wsl.images.tensors import Normalise, UInt8Array
from wsl.inference.stream import pipeline
from wsl.limits import max_pixels
from wsl.models import Localizer, autocast, choose_dtype
from wsl.models.fingerprint import add_weights
from wsl.models.taps import MAP, TapReader
from wsl.progress import progress
from wsl.samples import SampleSet

log = logging.getLogger("wsl")
Features = npt.NDArray[np.float16]
FOLDER = ".features"
"""The folder beside the runs that holds the features of their frozen backbones."""
_LIMIT = float(np.finfo(np.float16).max)
_BATCH = 16
_WORTH_SAYING = 1e9


class FeatureCache:
    """Cache of features, keyed by everything that determines them: backbone, layer, weights, preprocessing and files.

    There is one ``.npy`` file for each layer and split, (images, C, h, w) float16, opened as a memory map. The images
    are resized to ``side``, by default that of the model. An unreadable image has a row of NaN, and is tried again each
    time. The folder can be deleted at any time.

    Raises:
        BadImageError: an image cannot be read, and ``runtime.strict`` is set.
        RunError: a feature is not finite, or there is not enough disk space.
    """

    def __init__(
        self, folder: Path, model: Localizer, runtime: RuntimeConfig, device: torch.device, side: int | None = None
    ) -> None:
        self.folder = folder
        self.skipped: set[str] = set()
        self._backbone = model.backbone
        preprocessing = model.preprocessing
        self._preprocessing = preprocessing if side is None else replace(preprocessing, image_size=side)
        self._runtime, self._device = runtime, device
        self._dtype = choose_dtype(runtime.measuring, device)
        self._normalise = Normalise(self._preprocessing, device)
        recipe = model.recipe
        self._max_pixels = max_pixels()  # the limit of this thread, passed on to the reading threads
        self._identity = [recipe.backbone, recipe.output_stride, recipe.downsampling, _digest(model.backbone)]
        self._identity += [to_json(self._preprocessing), str(self._dtype), device.type]
        self._identity += [] if recipe.padding == "own" else [recipe.padding]

    def features(self, samples: SampleSet, mirrored: bool) -> Features:
        """The backbone's maps of all samples, or of their mirror images, read from disk or computed."""
        return self.levels(samples, mirrored, [MAP])[0]

    def levels(self, samples: SampleSet, mirrored: bool, layers: Sequence[str]) -> list[Features]:
        """The features of all samples for each layer: the input of a pyramid layer, or for `MAP` the backbone's map."""
        files = identify_files(samples)
        paths = {layer: self.folder / f"{self._key(files, mirrored, layer)}.npy" for layer in layers}
        kept = {layer: _open(path, len(samples)) for layer, path in paths.items() if path.is_file()}
        found = {layer: features for layer, features in kept.items() if features is not None}
        if found and self._became_readable(next(iter(found.values())), samples):
            found = {}  # Windows cannot replace open files
        missing = {layer: path for layer, path in paths.items() if layer not in found}
        if missing:
            self._compute(samples, mirrored, missing)
        return [found[layer] if layer in found else self._written(paths[layer], len(samples)) for layer in layers]

    @staticmethod
    def _written(path: Path, images: int) -> Features:
        features = _open(path, images)
        if features is None:
            raise RunError(f"{path} cannot be read although it was just written: check the disk")
        return features

    @staticmethod
    def readable(features: Features) -> npt.NDArray[np.bool_]:
        """A mask (images,) of the images that could be read."""
        return ~np.isnan(features[:, 0, 0, 0])

    def _became_readable(self, features: Features, samples: SampleSet) -> bool:
        """Try the unreadable images of a stored file again, and report those that still cannot be read."""
        images = [self._read(samples.samples[row].path) for row in np.flatnonzero(~self.readable(features))]
        unreadable = [image for image in images if isinstance(image, BadImageError)]
        report_skipped((str(one) for one in unreadable), self.skipped, self._runtime.strict)
        return len(unreadable) < len(images)

    def _key(self, files: list[Any], mirrored: bool, layer: str) -> str:
        text = json.dumps([self._identity, mirrored, files, *([layer] if layer else [])])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _compute(self, samples: SampleSet, mirrored: bool, paths: Mapping[str, Path]) -> None:
        self._backbone.eval()
        remove_litter(self.folder)
        name = "features (mirrored)" if mirrored else "features"
        reader = TapReader(self._backbone)
        batches = pipeline(
            (sample.path for sample in samples.samples),
            self._read,
            lambda images: images,
            partial(self._forward, mirrored, list(paths), reader),
            lambda features: features,
            batch_size=_BATCH,
            device=self._device,
            workers=self._runtime.workers,
        )
        try:
            with ExitStack() as stack:
                stack.callback(reader.remove)
                advance = stack.enter_context(progress(name, len(samples)))
                files = [
                    stack.enter_context(stack.enter_context(replacing(path, durable=False)).open("wb"))
                    for path in paths.values()
                ]
                rows = [_Rows(file, len(samples)) for file in files]
                for number, batch in enumerate(batches):
                    report_skipped((str(one) for one in batch.unreadable), self.skipped, self._runtime.strict)
                    if number == 0:
                        self._check_room(batch, len(samples))
                    for layer, writer in enumerate(rows):
                        features = None if batch.features is None else batch.features[layer]
                        writer.write(batch.rows, features, batch.images)
                    advance(batch.images)
                for writer in rows:
                    writer.finish()
        except PermissionError:
            # Windows: another run has computed the same file and already has it open.
            if not all(path.is_file() for path in paths.values()):
                raise

    def _check_room(self, batch: _Batch, images: int) -> None:
        """Log the size of the features to be written, and raise an error if the disk cannot hold them."""
        if batch.features is None:
            return
        size = images * sum(layer[0].nbytes for layer in batch.features)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise RunError(
                f"features of {images} images take {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free in "
                f"{self.folder}: free some space, or put --out on another disk"
            )
        if size > _WORTH_SAYING:
            log.info(
                "features of %d images: %.1f GB in %s, which can be deleted later", images, size / 1e9, self.folder
            )

    def _read(self, path: Path) -> UInt8Array | BadImageError:
        try:
            return fit(read_image(path, self._max_pixels), self._preprocessing)[0]
        except BadImageError as error:
            return error

    @torch.inference_mode()
    def _forward(
        self, mirrored: bool, layers: list[str], reader: TapReader, images: list[UInt8Array | BadImageError]
    ) -> _Batch:
        """The features of a batch's readable images."""
        rows = np.array([row for row, image in enumerate(images) if not isinstance(image, BadImageError)], np.int64)
        unreadable = [image for image in images if isinstance(image, BadImageError)]
        if not len(rows):
            return _Batch(rows, None, unreadable, len(images))
        pixels = self._normalise(np.stack([image for image in images if not isinstance(image, BadImageError)]))
        with autocast(self._device, self._dtype), reader.reading() as read:
            self._backbone(pixels.flip(3) if mirrored else pixels)
        features = [read[layer].float() for layer in layers]
        if not all(bool(layer.isfinite().all()) for layer in features):
            raise RunError("a feature of the backbone is not finite: try --precision fp32, or look at its weights")
        halves = [layer.clamp(-_LIMIT, _LIMIT).half().cpu().numpy() for layer in features]
        return _Batch(rows, halves, unreadable, len(images))


class _Batch(NamedTuple):
    """The features of a batch's readable images by layer, their positions, and the errors of the unreadable images."""

    rows: npt.NDArray[np.int64]
    features: list[Features] | None
    unreadable: list[BadImageError]
    images: int


class _Rows:
    """An ``.npy`` file written row by row, so that a full disk raises an error; with a memory map it would be fatal."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file, self._count = file, count
        self._shape: tuple[int, ...] | None = None
        self._pending = 0  # unreadable rows before the shape is known

    def write(self, index: npt.NDArray[np.int64], features: Features | None, count: int) -> None:
        """Write the next `count` rows: `features` at `index`, NaN elsewhere."""
        if features is not None and self._shape is None:
            self._begin(features.shape[1:])
        if self._shape is None:
            self._pending += count
            return
        rows = np.full((count, *self._shape), np.nan, np.float16)
        if features is not None:
            rows[index] = features
        self._file.write(rows.tobytes())

    def finish(self) -> None:
        """Complete the file if no image could be read."""
        if self._shape is None:
            self._begin((1, 1, 1))

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, {**header, "shape": (self._count, *shape)})
        if self._pending:
            self.write(np.empty(0, np.int64), None, self._pending)


def report_skipped(lines: Iterable[str], known: set[str], strict: bool) -> None:
    """Log each unreadable image once and add it to `known`, or raise an error for the first.

    Raises:
        BadImageError: there is an unreadable image, and `strict` is set.

    >>> known = {"a.jpg: truncated"}
    >>> report_skipped(["a.jpg: truncated"], known, strict=False)
    >>> report_skipped(["b.jpg: no such file"], known, strict=True)
    Traceback (most recent call last):
    wsl.errors.BadImageError: b.jpg: no such file
    """
    for line in lines:
        if strict:
            raise BadImageError(line)
        if line not in known:
            log.warning("skipped: %s", line)
            known.add(line)


def identify_files(samples: SampleSet) -> list[Any]:
    """The identity of the images' files: path, size and modification time.

    >>> from wsl.samples import Sample
    >>> [status for _, status in identify_files(SampleSet(classes=[], samples=[Sample(path="lost.jpg")]))]
    [None]
    """
    files: list[Any] = []
    for sample in samples.samples:
        try:
            status = holding_file(sample.path).stat()
        except OSError:  # reported when the image is read
            status = None
        files.append([str(sample.path.resolve()), status and [status.st_size, status.st_mtime_ns]])
    return files


def _open(path: Path, images: int) -> Features | None:
    """The features in a file; None if it is damaged, so that they are computed again."""
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader raises many types
        log.warning("%s is damaged (%s): its features are computed again", path, describe(error))
        return None
    if features.dtype != np.float16 or features.ndim != 4 or len(features) != images:
        log.warning("%s holds %s %s: its features are computed again", path, features.dtype, features.shape)
        return None
    return features  # type: ignore[no-any-return] # np.load's own


def _digest(module: torch.nn.Module) -> str:
    """A hash of the weights, because a local file may change under the same name."""
    digest = hashlib.sha256()
    add_weights(digest, module)
    return digest.hexdigest()
