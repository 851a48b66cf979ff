"""Predictions in Label Studio's tasks: rectangles in percent of the image, with the scores of a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from wsl.documents import guarded
from wsl.formats.exchange.label_studio import read_label_studio
from wsl.formats.exchange.parsing import file_in
from wsl.formats.predictions.detections import Detections
from wsl.formats.predictions.labelled import add_labelled
from wsl.formats.predictions.matching import Pairs, size_of
from wsl.samples import SampleSet


@guarded("Label Studio's tasks")
def read_label_studio_results(place: Path, samples: SampleSet, warnings: Counter[str]) -> Pairs:
    """Read the predicted rectangles of every image of a split from tasks as JSON; annotations if a task has none.

    ``place`` is the file, a folder with ``tasks.json``, or a folder with one file per task. A rectangle without a score
    has that of its prediction.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: the tasks have another form, a task has predictions of two models, the size of an image is not the
            annotated one, or as for `Detections`.

    >>> import json, tempfile
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(8, 8))])
    >>> value = {"x": 25, "y": 0, "width": 50, "height": 100, "rectanglelabels": ["dog"]}
    >>> prediction = {"score": 0.5, "result": [{"type": "rectanglelabels", "value": value}]}
    >>> task = {"data": {"image": "s3://photos/a.jpg"}, "predictions": [prediction]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tasks.json").write_text(json.dumps([task]), encoding="utf-8")
    ...     [(found, _)] = read_label_studio_results(Path(folder), samples, Counter())
    >>> found.boxes.xyxy.tolist(), found.boxes.scores.tolist()
    ([[2.0, 0.0, 6.0, 8.0]], [0.5])
    """
    file = file_in(place, "tasks.json")
    detections = Detections(samples, warnings, file, "fractions")

    def size(name: str) -> tuple[int, int] | None:
        sample = detections.match(name)
        return None if sample is None else size_of(sample)

    add_labelled(read_label_studio(file, predictions=True, sizes=size), detections)
    return detections.pairs()
