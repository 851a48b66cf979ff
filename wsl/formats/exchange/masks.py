"""Class maps as masks: one PNG with VOC's palette per image, or COCO's run-length encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsl import run_lengths
from wsl.errors import UserError
from wsl.files import replacing, write_text
from wsl.formats.exchange.coco_results import NumberedResults
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.voc import Stems
from wsl.maps import heatmap
from wsl.results import Localization

Mask = npt.NDArray[np.uint8]
_MOST_CLASSES = 254  # 0 is the background, 255 is ignored by VOC


def class_mask(found: Localization, numbers: dict[str, int], threshold: float) -> Mask:
    """The class of each pixel: 0 where no map exceeds the threshold, else 1 + the index of the class with the maximum.

    Each map is separately resized to the image and normalised to [0, 1].

    Shape:
        (height, width) uint8.

    Raises:
        UserError: no maps are stored, or a class is not listed.

    >>> from wsl.boxes import Boxes
    >>> found = Localization(
    ...     path="a.jpg", size=(4, 1), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 1]])}
    ... )
    >>> class_mask(found, {"cat": 0, "dog": 1}, threshold=0.5).tolist()
    [[0, 0, 2, 2]]
    """
    width, height = found.size
    best = np.full((height, width), threshold, np.float32)
    mask = np.zeros((height, width), np.uint8)
    for label, score_map in _maps(found).items():
        values = heatmap(score_map, found.size)
        higher = values > best
        best[higher] = values[higher]
        mask[higher] = number_of(label, numbers, str(found.path)) + 1
    return mask


def write_voc_masks(
    images: Iterable[tuple[Labelled, Localization]], out: Path, classes: Sequence[str], *, threshold: float
) -> Path:
    """Write ``SegmentationClass/<image>.png`` with VOC's palette, and ``classes.txt`` with one name per line.

    Raises:
        UserError: there are more classes than colours, an image has no maps, or two images would share a file.
    """
    numbers = class_index(classes)
    if len(numbers) > _MOST_CLASSES:
        raise UserError(f"{len(numbers)} classes, a palette image holds {_MOST_CLASSES}: choose some with --classes")
    folder = out / "SegmentationClass"
    stems = Stems(".png")
    for image, found in images:
        picture = Image.fromarray(class_mask(found, numbers, threshold))
        picture.putpalette(voc_palette().tobytes())
        with replacing(folder / f"{stems.take(image)}.png") as temporary:
            picture.save(temporary, format="PNG")
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in numbers))
    return folder


def write_coco_masks(
    images: Iterable[tuple[Labelled, Localization]],
    out: Path,
    classes: Sequence[str],
    *,
    threshold: float,
    reference: Path | None = None,
) -> Path:
    """Write ``results.json``: a mask of each localized class in COCO's run-length encoding, scored by its probability.

    The masks of an image may overlap. Ids are those of ``reference``, as in `write_coco_results`.

    Raises:
        UserError: an image has no maps, or the reference does not contain an image or a class.
    """
    with NumberedResults(out, classes, reference) as results:
        for image, found in images:
            results.open_image(image)
            for label, score_map in _maps(found).items():
                runs = run_lengths.encode(heatmap(score_map, found.size) > np.float32(threshold))
                there = run_lengths.to_annotation(runs, found.size)
                segmentation = {**there["segmentation"], "counts": runs.decode("ascii")}
                place = {"segmentation": segmentation, "bbox": there["bbox"]}
                results.add(label, found.scores.get(label, 1.0), place)
    return results.path


def voc_palette() -> npt.NDArray[np.uint8]:
    """The 256 colours of VOC's masks: the bits of a class number, assigned in turn to red, green and blue.

    Shape:
        (256, 3) uint8.

    >>> voc_palette()[[0, 1, 2, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
    """
    number = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours |= (((number >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def _maps(found: Localization) -> dict[str, npt.NDArray[np.float32]]:
    if found.maps is None:
        raise UserError(f"{found.path}: no maps are stored to make masks from: run wsl-localize with --maps")
    return dict(found.maps)
