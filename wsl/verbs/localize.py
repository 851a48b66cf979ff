"""Find the things in images: class scores, boxes and heatmaps."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from wsl import config as settings
from wsl.config import BoxConfig, LocalizeConfig
from wsl.draw import overlay, save_image
from wsl.errors import RunError, UserError
from wsl.files import UniqueNames, write_text
from wsl.formats import LocalizationWriter, MapStore
from wsl.formats.localizations import FILE_NAME
from wsl.images import find_images, read_image
from wsl.inference import Predictor
from wsl.models import open_model, resolve_refine
from wsl.progress import track
from wsl.results import BoxOrigin, Localization
from wsl.verbs.box_choice import resolve_boxes

log = logging.getLogger("wsl")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizeResult:
    """Where the localizations are and how many images they are of."""

    localizations: Path
    images: int
    boxes: int
    skipped: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizePlan:
    """What `run_localize` would do."""

    images: int
    first: tuple[Path, ...]
    classes: int
    image_size: int
    boxes: str
    out: Path
    replaces: bool

    def __str__(self) -> str:
        shown = "".join(f"  {path}\n" for path in self.first)
        more = f"  … and {self.images - len(self.first)} more\n" if self.images > len(self.first) else ""
        replaced = " (an older one is replaced)" if self.replaces else ""
        return (
            f"{self.images} images at {self.image_size} px, a model of {self.classes} classes:\n{shown}{more}"
            f"boxes: {self.boxes}\nwould be written to {self.out / FILE_NAME}{replaced}"
        )


def plan_localize(config: LocalizeConfig) -> LocalizePlan:
    """Check everything that `run_localize` checks before its first image; nothing is written.

    Raises:
        UserError: no image, an unknown model or class, a setting out of range.
    """
    paths, predictor, _, origin = _prepare(config)
    return LocalizePlan(
        images=len(paths),
        first=tuple(Path(path) for path in paths[:5]),
        classes=len(predictor.classes),
        image_size=predictor.preprocessing.image_size,
        boxes=str(origin),
        out=config.out,
        replaces=(config.out / FILE_NAME).exists(),
    )


def run_localize(config: LocalizeConfig) -> LocalizeResult:
    """Localize images and write ``localizations.jsonl`` (and heatmaps and maps when asked) into ``config.out``.

    Raises:
        UserError: no image, an unknown model or class, a setting out of range.
        RunError: not one image could be read.
    """
    started = time.perf_counter()
    paths, predictor, boxes, origin = _prepare(config)
    if origin.origin.startswith("selected"):  # what nobody typed should not come as a surprise
        log.info("boxes: %s", origin)
    record = json.loads(settings.to_json(dataclasses.replace(config, boxes=boxes)))
    write_text(config.out / "localize.json", json.dumps({**record, "box_origin": origin.origin}, indent=2) + "\n")
    store = MapStore(config.out)
    heatmaps = _Heatmaps(config.out / "heatmaps")
    images = drawn = 0
    with LocalizationWriter(config.out) as writer:
        stream = predictor.stream(
            paths, errors="raise" if config.runtime.strict else "skip", workers=config.runtime.workers
        )
        for found in track(stream, "localize", len(paths)):
            writer.write(store.write(found) if config.maps else found)
            if config.heatmaps:
                heatmaps.write(found)
            images += 1
            drawn += len(found.boxes)
        if not images:
            raise RunError(f"none of the {len(paths)} images could be read: see the lines above")
    store.finish()
    return LocalizeResult(
        localizations=writer.path,
        images=images,
        boxes=drawn,
        skipped=stream.skipped,
        seconds=time.perf_counter() - started,
    )


def _prepare(config: LocalizeConfig) -> tuple[list[Path], Predictor, BoxConfig, BoxOrigin]:
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"{config.out} is a file: expected a folder for the results")
    paths = find_images(config.sources)
    model = open_model(config.weights, config.local_weights)
    refine = resolve_refine(config.refine, model)
    boxes, origin = resolve_boxes(config.boxes, config.weights, refine)
    predictor = Predictor.from_configs(
        model,
        pick=config.pick,
        boxes=boxes,
        refine=refine,
        runtime=config.runtime,
        batch_size=config.batch_size,
        image_size=config.image_size,
    )
    return paths, predictor, boxes, origin


class _Heatmaps:
    """One overlay a picked class: ``heatmaps/<image>-<class>.png``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = UniqueNames()

    def write(self, found: Localization) -> None:
        image = read_image(found.path)
        for label, score_map in (found.maps or {}).items():
            save_image(self._folder / f"{self._names(f'{found.id}-{label}')}.png", overlay(image, score_map))
