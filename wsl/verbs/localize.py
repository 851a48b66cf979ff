"""Find the things in images: class scores, boxes and heatmaps."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wsl import config as settings
from wsl.checkpoints import check_classes, check_weights
from wsl.config import BoxConfig, LocalizeConfig, Refine
from wsl.data import read_samples
from wsl.errors import BadImageError, RunError
from wsl.files import UniqueNames, check_folder, locked, write_text
from wsl.formats import LocalizationWriter, MapStore
from wsl.formats.localizations import FILE_NAME
from wsl.images import find_images, read_image
from wsl.progress import loading, track
from wsl.results import BoxOrigin, Localization
from wsl.samples import SampleSet
from wsl.thresholds.stored import resolve_boxes
from wsl.verbs.checks import check_labels

if TYPE_CHECKING:
    from wsl.inference import Predictor, Source

log = logging.getLogger("wsl")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizeResult:
    """Where the localizations are and how many images they are of; ``seconds`` are those from the first image on.

    ``method`` says how the maps were refined, and which threshold and rule drew the boxes.
    """

    localizations: Path
    images: int
    boxes: int
    skipped: int
    seconds: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizePlan:
    """What `run_localize` would do."""

    images: int
    first: tuple[Path, ...]
    classes: int
    image_size: int
    method: str
    out: Path
    replaces: bool

    def __str__(self) -> str:
        shown = "".join(f"  {path}\n" for path in self.first)
        more = f"  … and {self.images - len(self.first)} more\n" if self.images > len(self.first) else ""
        replaced = " (an older one is replaced)" if self.replaces else ""
        return (
            f"{self.images} images at {self.image_size} px, a model of {self.classes} classes:\n{shown}{more}"
            f"{self.method}\nwould be written to {self.out / FILE_NAME}{replaced}"
        )


def plan_localize(config: LocalizeConfig) -> LocalizePlan:
    """Check everything that `run_localize` checks before its first image; nothing is written.

    Raises:
        UserError: no image, an unknown model or class, a setting out of range.
    """
    images = _check(config)
    opened = _open(config, images)
    return LocalizePlan(
        images=len(images.paths),
        first=tuple(images.paths[:5]),
        classes=len(opened.predictor.classes),
        image_size=opened.predictor.preprocessing.image_size,
        method=_method(config, opened),
        out=config.out,
        replaces=(config.out / FILE_NAME).exists(),
    )


def run_localize(config: LocalizeConfig) -> LocalizeResult:
    """Localize images and write ``localizations.jsonl`` (and heatmaps and maps when asked) into ``config.out``.

    Raises:
        UserError: no image, an unknown model or class, a setting out of range, or another run writes to the folder.
        RunError: not one image could be read.
    """
    images = _check(config)
    with locked(config.out, "wsl-localize"):
        return _localize(config, images, _open(config, images))


def _localize(config: LocalizeConfig, images: _Images, opened: _Opened) -> LocalizeResult:
    started = time.perf_counter()
    if opened.origin.origin.startswith("selected"):  # what nobody typed should not come as a surprise
        log.info("boxes: %s", opened.origin)
    _record(config, opened)
    store = MapStore(config.out)
    heatmaps = _Heatmaps(config.out / "heatmaps") if config.heatmaps else None
    done = drawn = gone = 0
    with LocalizationWriter(config.out) as writer:
        stream = opened.predictor.stream(
            _sources(config, images),
            errors="raise" if config.runtime.strict else "skip",
            workers=config.runtime.workers,
        )
        for found in track(stream, "localize", len(images.paths)):
            if heatmaps is not None and not heatmaps.write(found, strict=config.runtime.strict):
                gone += 1
                continue
            writer.write(store.write(found) if config.maps else found)
            done += 1
            drawn += len(found.boxes)
        if not done:
            raise RunError(f"none of the {len(images.paths)} images could be read: see the lines above")
    store.finish()
    return LocalizeResult(
        localizations=writer.path,
        images=done,
        boxes=drawn,
        skipped=stream.skipped + gone,
        seconds=time.perf_counter() - started,
        method=_method(config, opened),
    )


class _Images(NamedTuple):
    """The images to localize, and what is known of them where they are those of a data set."""

    paths: Sequence[Path]
    samples: SampleSet | None


class _Opened(NamedTuple):
    """A model ready to run, and how its boxes are drawn."""

    predictor: Predictor
    boxes: BoxConfig
    origin: BoxOrigin
    refine: Refine
    maps: str


def _check(config: LocalizeConfig) -> _Images:
    """Check all that needs no torch, which takes seconds to load, and list the images."""
    check_folder(config.out, "the results")
    recipe = check_weights(config.weights, config.local_weights, config.cam.model)
    if recipe is not None:
        check_classes(config.pick.classes, recipe.classes)
    if config.data is None:
        return _Images(find_images(config.sources), None)
    samples = read_samples(config.data, config.split)
    if config.labels and recipe is not None:
        check_labels(config, samples, recipe.classes)
    return _Images([sample.path for sample in samples.samples], samples)


def _open(config: LocalizeConfig, images: _Images) -> _Opened:
    """Load the model, and check what only the loaded model can tell."""
    with loading(config.weights):
        from wsl.inference import Predictor
        from wsl.models import made_by, open_model, resolve_refine

        model = open_model(
            config.weights,
            config.local_weights,
            method=config.cam.cam,
            layers=config.cam.layers,
            model=config.cam.model,
        )
        if config.labels and images.samples is not None:
            check_labels(config, images.samples, model.classes)
        refine = resolve_refine(config.refine, model)
        boxes, origin = resolve_boxes(config.boxes, config.weights, refine, config.cam.maps)
        predictor = Predictor.from_configs(
            model,
            pick=config.pick,
            boxes=boxes,
            refine=refine,
            tta=config.tta,
            runtime=config.runtime,
            batch_size=config.batch_size,
            image_size=config.image_size,
        )
    return _Opened(predictor, boxes, origin, refine, made_by(model))


def _sources(config: LocalizeConfig, images: _Images) -> Iterator[Path | Source]:
    """The images with their ids, and with their labels where these are to be localized."""
    from wsl.inference import Source

    if images.samples is None:
        yield from images.paths
        return
    for sample in images.samples.samples:
        yield Source(sample.path, id=sample.id, classes=sample.labels if config.labels else None)


def _record(config: LocalizeConfig, opened: _Opened) -> None:
    """Write the settings down, with what was left open filled in."""
    resolved = dataclasses.replace(config, boxes=opened.boxes, refine=opened.refine)
    record = {**json.loads(settings.to_json(resolved)), "box_origin": opened.origin.origin}
    write_text(config.out / "localize.json", json.dumps(record, indent=2) + "\n")


def _method(config: LocalizeConfig, opened: _Opened) -> str:
    described = {"none": "not refined", "decoder": "of the run's decoder"}
    maps = described.get(opened.refine, f"refined by {opened.refine}")
    maps = f"{opened.maps}, {maps}" if opened.maps else maps
    if config.refine == "auto" and opened.refine != "none":
        maps += " (--refine none for the network's own)"
    return f"boxes: {opened.origin}; maps {maps}"


class _Heatmaps:
    """One overlay a picked class: ``heatmaps/<image>-<class>.png``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = UniqueNames()

    def write(self, found: Localization, *, strict: bool) -> bool:
        """Draw the maps of an image, unless it went or was replaced since it was localized.

        Raises:
            BadImageError: it was, and `strict`.
        """
        from wsl.draw import overlay, save_image  # matplotlib, which nothing else here needs

        try:
            image = read_image(found.path)
            if image.shape[1::-1] != tuple(found.size):
                raise BadImageError(f"{found.path}: was replaced while it was localized")
        except BadImageError as error:
            if strict:
                raise
            log.warning("skipped: %s", error)
            return False
        for label, score_map in (found.maps or {}).items():
            save_image(self._folder / f"{self._names(f'{found.id}-{label}')}.png", overlay(image, score_map))
        return True
