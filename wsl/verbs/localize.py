"""Localize objects in images: class scores, boxes and heatmaps."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wsl.checkpoints import check_model
from wsl.config import LocalizeConfig
from wsl.config.checks import check
from wsl.config.keywords import by_keywords
from wsl.data import as_trained, read_samples
from wsl.errors import RunError
from wsl.files import check_folder, locked
from wsl.formats import LocalizationWriter, MapStore, read_localizations
from wsl.formats.localizations import FILE_NAME, partial_file
from wsl.formats.resuming import Kept, kept_results
from wsl.formats.shards.manifest import MANIFEST
from wsl.formats.shards.storage import is_remote
from wsl.images import find_images, read_image
from wsl.images.parquet_members import has_images
from wsl.images.raster import SUFFIXES as RASTERS
from wsl.images.raster import load_rasterio
from wsl.images.windows import is_geotiff, read_whole
from wsl.inference.identity import check_identity
from wsl.inference.shards.sources import LISTS
from wsl.progress import loading, track
from wsl.samples import SampleSet
from wsl.verbs.checks import check_labels
from wsl.verbs.heatmap_files import HeatmapFiles
from wsl.verbs.localize_record import check_vacant, images_digest, read_record, write_record

if TYPE_CHECKING:
    from wsl.inference import Source
    from wsl.inference.opening import OpenedModel

log = logging.getLogger("wsl")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizeResult:
    """The path of the localizations, and the number of images and boxes; ``seconds`` excludes loading the model.

    ``resumed`` counts images localized by an earlier run. ``method`` says how the maps were refined, and with which
    threshold and rule the boxes were drawn.
    """

    localizations: Path
    images: int
    boxes: int
    skipped: int
    seconds: float
    method: str
    resumed: int = 0


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
    resumes: int = 0

    def __str__(self) -> str:
        shown = "".join(f"  {path}\n" for path in self.first)
        more = f"  … and {self.images - len(self.first)} more\n" if self.images > len(self.first) else ""
        older = " (an older one is replaced)" if self.replaces else ""
        older = f" ({self.resumes} images are there already)" if self.resumes else older
        return (
            f"{self.images} images at {self.image_size} px, a model of {self.classes} classes:\n{shown}{more}"
            f"{self.method}\nwould be written to {self.out / FILE_NAME}{older}"
        )


def plan_localize(config: LocalizeConfig) -> LocalizePlan:
    """Make all checks of `run_localize` without localizing or writing anything.

    Raises:
        UserError: there is no image, the model or a class is unknown, a setting is out of range, or ``config.out``
            already contains results.
    """
    config = with_split_of_run(config)
    images = _check(config)
    opened = _open(config, images)
    predictor = opened.predictor()
    start = _start(config, images, opened)
    return LocalizePlan(
        images=len(images.paths),
        first=tuple(images.paths[:5]),
        classes=len(predictor.classes),
        image_size=predictor.preprocessing.image_size,
        method=opened.method,
        out=config.out,
        replaces=config.overwrite and (config.out / FILE_NAME).exists(),
        resumes=start.kept.images,
    )


@by_keywords(LocalizeConfig, "sources")
def run_localize(config: LocalizeConfig) -> LocalizeResult:
    """Localize images and write ``localizations.jsonl`` (and heatmaps and maps if requested) into ``config.out``.

    With ``config.resume`` a run that was stopped continues, and its files are identical to those of an uninterrupted
    run. Settings are a `LocalizeConfig`, or keywords with the names of the flags:
    ``run_localize("photos/", weights="resnet50", out="found")``.

    Raises:
        UserError: there is no image, the model or a class is unknown, a setting is out of range, ``config.out`` already
            contains results (or, with ``config.resume``, those of another run), or another run writes to the folder.
        RunError: none of the images could be read.
    """
    config = with_split_of_run(config)
    images = _check(config)
    with locked(config.out, "wsl-localize"):
        return _localize(config, images, _open(config, images))


def _localize(config: LocalizeConfig, images: _Images, opened: OpenedModel) -> LocalizeResult:
    started = time.perf_counter()
    if opened.origin.origin.startswith("selected"):  # these settings were not given on the command line
        log.info("boxes: %s", opened.origin)
    start = _start(config, images, opened)
    kept = start.kept
    result = LocalizeResult(
        localizations=config.out / FILE_NAME,
        images=kept.records,
        boxes=kept.boxes,
        skipped=kept.images - kept.records,
        seconds=0.0,
        method=opened.method,
        resumed=kept.images,
    )
    if start.finished:
        return result
    predictor = opened.stream_predictor()
    store = MapStore(config.out, first=start.first_map_shard, last=kept.maps)
    write_record(config, opened, images=start.images, first_map_shard=store.first)
    read = read_image if config.raster.tile is None else functools.partial(read_whole, bands=config.raster.bands)
    heatmaps = HeatmapFiles(config.out / "heatmaps", config.heatmap_layout, read) if config.heatmaps else None
    if heatmaps is not None and kept.records:
        heatmaps.pass_over(itertools.islice(read_localizations(partial_file(config.out), maps=False), kept.records))
    done, drawn, gone = kept.records, kept.boxes, 0
    with LocalizationWriter(config.out, kept=kept.size) as writer:
        sources = itertools.islice(_sources(config, images), kept.images, None)
        errors: Literal["raise", "skip"] = "raise" if config.runtime.strict else "skip"
        stream = predictor.stream(sources, errors=errors, workers=config.runtime.workers)
        for found in track(stream, "localize", len(images.paths) - kept.images):
            # Heatmaps come first, because the line of an image marks it as complete.
            if heatmaps is not None and not heatmaps.write(found, strict=config.runtime.strict):
                gone += 1
                continue
            writer.write(store.write(found) if config.maps else found)
            done += 1
            drawn += len(found.boxes)
        if not done:
            raise RunError(f"none of the {len(images.paths)} images could be read: see the lines above")
    store.finish()
    return dataclasses.replace(
        result,
        images=done,
        boxes=drawn,
        skipped=result.skipped + stream.skipped + gone,
        seconds=time.perf_counter() - started,
    )


class _Images(NamedTuple):
    """The images to localize, and their samples if they come from a data set."""

    paths: Sequence[Path]
    samples: SampleSet | None

    def listed(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """The path, id and labels of each image."""
        if self.samples is None:
            yield from ((path.as_posix(), path.stem, ()) for path in self.paths)
            return
        for sample in self.samples.samples:
            yield sample.path.as_posix(), sample.id, sample.labels


class _Start(NamedTuple):
    """The position in the list of images at which a run starts: the first image, or where an earlier run stopped."""

    images: dict[str, Any]
    kept: Kept = Kept()
    first_map_shard: int | None = None
    finished: bool = False


def _start(config: LocalizeConfig, images: _Images, opened: OpenedModel) -> _Start:
    """Find out where the run starts.

    Raises:
        UserError: the earlier run to continue had other settings or images.
    """
    known = {"count": len(images.paths), "sha256": images_digest(images.listed())}
    partial, whole = partial_file(config.out), config.out / FILE_NAME
    if not config.resume or not (partial.exists() or whole.exists()):
        return _Start(known)
    record = read_record(config.out)
    pictures = ("heatmaps", "heatmap_layout")
    earlier = {**record["identity"], **{name: record.get(name) for name in pictures}}
    now = {**opened.identity, **{name: getattr(config, name) for name in pictures}}
    check_identity({**earlier, **_named(record.get("images"))}, {**now, **_named(known)}, str(config.out))
    names = ((path, id) for path, id, _ in images.listed())
    if partial.exists():
        # The tiles of an image are batches of their own.
        batch_size = opened.identity["batch_size"] if config.raster.tile is None else 1
        kept = kept_results(partial, names, batch_size)
        return _Start(known, kept, record.get("first_map_shard"))
    return _Start(known, kept_results(whole, names, 1)._replace(images=len(images.paths)), finished=True)


def _named(images: Any) -> dict[str, Any]:
    """The number and the hash of a record's images, by names for a message."""
    count, digest = (images.get("count"), images.get("sha256")) if isinstance(images, dict) else (None, None)
    return {"number of images": count, "list of images": digest}


def with_split_of_run(config: LocalizeConfig) -> LocalizeConfig:
    """The settings with a split, and the data set divided as in the training of the run in ``config.weights``."""
    if config.data is None:
        return config
    return dataclasses.replace(config, data=as_trained(config.data, config.weights), split=config.split or "val")


def _check(config: LocalizeConfig) -> _Images:
    """Check everything that does not need torch, which takes seconds to load, and list the images."""
    check(config.sharding.engine is None, "settings for a run in shards: call wsl.verbs.localize_shards.run_shards")
    _check_plain(config)
    check_folder(config.out, "the results")
    check_vacant(config)
    recipe = check_model(config.weights, config.local_weights, config.cam.model, config.pick.classes)
    if config.data is None:
        images = _Images(find_images(config.sources), None)
    else:
        samples = read_samples(config.data, config.split)
        if config.labels and recipe is not None:
            check_labels(config, samples, recipe.classes)
        images = _Images([sample.path for sample in samples.samples], samples)
    _check_rasters(config, images.paths)
    return images


def _check_plain(config: LocalizeConfig) -> None:
    """Check that a run without an engine has no inputs or results of a run in shards.

    Raises:
        UserError: ``config.out`` contains a run in shards, or a source is a list or in a store.
    """
    check(not (config.out / MANIFEST).exists(), f"{config.out} holds a run in shards: expected --engine to continue it")
    for source in config.sources:
        named = Path(source).suffix.lower() in LISTS and not has_images(Path(source))
        there = source if named or is_remote(source) else ""
        check(not there, f"{there} names images in a list or a store: expected --engine local, which reads them")


def _check_rasters(config: LocalizeConfig, images: Iterable[Path]) -> None:
    """Check that images to be cut into tiles can be opened.

    Raises:
        UserError: one is a GeoTIFF, and rasterio is not installed, or bands are chosen and one is not a GeoTIFF.
    """
    if config.raster.tile is None:
        return
    if any(map(is_geotiff, images)):
        load_rasterio("--tile on a GeoTIFF")
    other = next((path for path in images if not is_geotiff(path)), None) if config.raster.bands else None
    check(other is None, f"{other}: --bands are those of GeoTIFFs, expected files that end in {' or '.join(RASTERS)}")


def _open(config: LocalizeConfig, images: _Images) -> OpenedModel:
    """Load the model, and make the checks that need it."""
    with loading(config.weights):
        from wsl.inference.opening import OpenedModel

        opened = OpenedModel.open(config)
    if config.labels and images.samples is not None:
        check_labels(config, images.samples, opened.model.classes)
    return opened


def _sources(config: LocalizeConfig, images: _Images) -> Iterator[Path | Source]:
    """The images with their ids, and with their labels if those are to be localized."""
    from wsl.inference import Source

    if images.samples is None:
        yield from images.paths
        return
    for sample in images.samples.samples:
        yield Source(sample.path, id=sample.id, classes=sample.labels if config.labels else None)
