"""Detections as COCO's evaluation takes them: a JSON list of ``{image_id, category_id, bbox, score}``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.errors import UserError
from wsl.formats.detections import Detection, localizations
from wsl.results import Localization
from wsl.samples import Sample, SampleIndex, SampleSet

_LARGEST = 1e9


def read_coco_results(
    path: Path,
    samples: SampleSet,
    images: Mapping[int | str, str],
    categories: Mapping[int, str],
    warnings: Counter[str],
) -> Iterator[tuple[Localization, Sample]]:
    """The detections of every image of a split; an image that the file does not name has none.

    ``images`` gives the file name for each number of an image, ``categories`` the class of each category, both
    from the annotations. The file is held, as JSON has to be.

    What is tolerated is counted in ``warnings``: detections in images that are not annotated (left out), boxes that
    reach outside their image (kept as they are, as COCOeval keeps them).

    Raises:
        UserError: not JSON, not a list of detections with boxes, an unknown category, a negative side, or no
            detection in any image of the split.

    >>> import tempfile
    >>> dog = {"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "results.json")
    ...     _ = file.write_text(json.dumps([dog]), encoding="utf-8")
    ...     [(found, _)] = read_coco_results(file, samples, {7: "a.jpg"}, {18: "dog"}, Counter())
    >>> found.boxes.xyxy.tolist()
    [[1.0, 2.0, 4.0, 6.0]]
    """
    index = SampleIndex(samples)
    known = {number: index.match(name) for number, name in images.items()}
    detections: defaultdict[Path, list[Detection]] = defaultdict(list)
    records = _load(path)
    for position, record in enumerate(records):
        where = f"{path}: detection {position}"
        image, detection = _detection(record, categories, where)
        sample = known.get(image)
        if sample is not None:
            detections[sample.path].append(detection)
        else:
            warnings["detections in images outside the split: left out"] += 1
    if records and not detections:
        raise UserError(
            f"{path}: none of its {len(records)} detections is in an image of the split, expected image ids such as "
            f"{next(iter(images), 1)}"
        )
    yield from localizations(samples.samples, detections, warnings)


def _load(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected COCO results") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); expected COCO results") from error
    if not isinstance(document, list):
        raise UserError(
            f"{path}: a {type(document).__name__}, expected COCO results: a list of image_id, category_id, bbox, score"
        )
    return document


def _detection(record: Any, categories: Mapping[int, str], where: str) -> tuple[int | str, Detection]:
    if not isinstance(record, dict):
        raise UserError(f"{where} is a {type(record).__name__}, expected image_id, category_id, bbox and score")
    image, category, bbox, score = (record.get(key) for key in ("image_id", "category_id", "bbox", "score"))
    if not isinstance(image, (int, str)) or isinstance(image, bool):
        raise UserError(f"{where} has the image_id {image!r}, expected the id of an annotated image")
    if not isinstance(category, int) or category not in categories:
        raise UserError(f"{where} has the category_id {category!r}, which is none of the annotations' categories")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox)) and min(bbox[2:]) >= 0):
        raise UserError(f"{where} has the bbox {bbox!r}, expected [x, y, width, height], neither side negative")
    if score is None or not _is_number(score):
        raise UserError(f"{where} has the score {score!r}, expected a number")
    x, y, width, height = bbox
    return image, Detection(categories[category], float(score), (x, y, x + width, y + height))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
