"""Faithfulness of maps to the model: insertion, deletion, average drop, increase in confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from wsl.boxes import FloatArray
from wsl.centre import centre_gaussian
from wsl.errors import UserError
from wsl.metrics.evidence import Evidence
from wsl.metrics.perturbation import Scorer, confidence_change, insertion_deletion
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Metric

NAMES = ("insertion", "deletion", "average drop", "increase in confidence")


class Probe(NamedTuple):
    """An image as the model's input, and a function that scores changed versions of it.

    Shape:
        ``image`` (3, H, W) is the model's input without the padding around it; ``model`` maps changed images
        (N, 3, H, W) to probabilities (N, K), in the order of the metric's classes.
    """

    image: torch.Tensor
    model: Scorer


class Faithfulness(Statistic):
    """Insertion, deletion, average drop and increase in confidence of a model's own maps, each the mean over classes.

    A trial is an (image, class) pair: each class in ``sample.labels`` with a finite map; the note counts those without.
    Insertion and increase should be high, deletion and drop low. The baseline is measured the same way with
    `centre_gaussian`: its map is the same for all images, but the model's probabilities are not, so it costs as much as
    the map itself.

    Args:
        probe: A function from the path of an image to a `Probe`: the part of its input that the map covers, and the
            probabilities.
        steps: Number of steps in which pixels are moved; each costs two forward passes, and two for the baseline.
        batch_size: Images per forward pass.

    >>> import numpy as np
    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> brightness = lambda images: images.mean(dim=(1, 2, 3))[:, None]
    >>> metric = Faithfulness(["dog"], probe=lambda path: Probe(torch.ones(3, 2, 2), brightness), steps=4)
    >>> found = Localization(path="a.jpg", size=(2, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.eye(2)})
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> [(metric.name, round(metric.value, 2)) for metric in metric.compute()][1:]
    [('deletion', 0.5), ('average drop', 0.5), ('increase in confidence', 0.0)]
    """

    views = ("found", "centre")
    columns = len(NAMES)
    lost, left_out = "without a map: left out", True
    sum_type = np.float64

    def __init__(
        self,
        classes: Sequence[str],
        *,
        probe: Callable[[Path], Probe],
        steps: int = 224,
        batch_size: int = 32,
        **settings: Any,
    ) -> None:
        if steps < 1 or batch_size < 1:
            raise UserError(f"{steps} steps in batches of {batch_size}, expected 1 or more of each: try 224 and 32")
        super().__init__(classes, **settings)
        self._probe, self.steps, self.batch_size = probe, steps, batch_size

    def observe(self, seen: Evidence) -> Observation:
        """The four numbers of each class's map.

        Raises:
            UserError: the image cannot be read, or the model does not return probabilities.
        """
        rows = []
        for label in seen.sample.labels:
            score_map = Evidence.of(seen).score_map(label)
            if score_map is None:
                rows.append(Row(label, np.zeros(self.columns), missing=True))
                continue
            probe = seen.once("probe", lambda: self._probe(seen.sample.path), shared=True)
            height, width = probe.image.shape[1:]
            shown = centre_gaussian((width, height)) if seen.blind else score_map
            rows.append(Row(label, self._measure(probe, shown, self.index[label])))
        return Observation(rows)

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """The four means; no value if no pair has a map."""
        notes = [self.note(totals, *([f"{self.steps} steps"] if column < 2 else [])) for column in range(len(NAMES))]
        means = [self.rate(totals, name, i, note=notes[i]) for i, name in enumerate(NAMES)]
        return tuple(replace(mean, lower_is_better=mean.name in ("deletion", "average drop")) for mean in means)

    def _measure(self, probe: Probe, score_map: FloatArray, class_index: int) -> list[float]:
        image, model = probe
        curves = insertion_deletion(model, image, score_map, class_index, steps=self.steps, batch_size=self.batch_size)
        drop, rises = confidence_change(model, image, score_map, class_index)
        return [curves.insertion_area, curves.deletion_area, drop, float(rises)]
