"""Does the model itself look where the map says: insertion, deletion, average drop, increase in confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from wsl.boxes import FloatArray
from wsl.cam.baselines import centre_gaussian
from wsl.errors import UserError
from wsl.metrics.perturbation import Scorer, confidence_change, insertion_deletion
from wsl.metrics.protocol import StreamingMetric
from wsl.results import Localization, Metric
from wsl.samples import Sample

NAMES = ("insertion", "deletion", "average drop", "increase in confidence")


class Probe(NamedTuple):
    """What is needed to ask a model about an image.

    Shape:
        ``image`` (3, H, W) is the image as the model takes it, without the padding around it; ``model`` gives the
        probabilities of images in its place, (N, 3, H, W) to (N, K), in the order of the metric's classes.
    """

    image: torch.Tensor
    model: Scorer


class Faithfulness(StreamingMetric):
    """Insertion, deletion, average drop and increase in confidence of a model's own maps, each the mean over classes.

    A trial is an (image, class) pair: each class in ``sample.labels`` with a finite map; the note counts those
    without. Insertion and increase should be high, deletion and drop low. The baseline asks the same of
    `centre_gaussian`: its map is one for all images, but what the model says of it is each image's own, so it costs as
    much as the map itself. Keeps ten counters a class, and five a class and replicate.

    Args:
        probe: What is needed to ask the model about the image of a path: that part of its input which the map covers,
            and the probabilities.
        steps: In how many steps pixels are moved; each costs two forward passes, and as many for the baseline.
        batch_size: Images a forward pass.

    >>> from wsl.boxes import Boxes
    >>> brightness = lambda images: images.mean(dim=(1, 2, 3))[:, None]
    >>> metric = Faithfulness(["dog"], probe=lambda path: Probe(torch.ones(3, 2, 2), brightness), steps=4)
    >>> found = Localization(path="a.jpg", size=(2, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.eye(2)})
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> [(metric.name, round(metric.value, 2)) for metric in metric.compute()][1:]
    [('deletion', 0.5), ('average drop', 0.5), ('increase in confidence', 0.0)]
    """

    trials: torch.Tensor
    sums: torch.Tensor
    baseline_sums: torch.Tensor
    drawn_trials: torch.Tensor
    drawn_sums: torch.Tensor
    missing: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        *,
        probe: Callable[[Path], Probe],
        steps: int = 224,
        batch_size: int = 32,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        if steps < 1 or batch_size < 1:
            raise UserError(f"{steps} steps in batches of {batch_size}, expected 1 or more of each: try 224 and 32")
        super().__init__(classes, report_classes, **settings)
        # In a tuple, or torch would take a module for a part of the metric: move, copy and save it along.
        self._probe, self.steps, self.batch_size = (probe,), steps, batch_size
        number = len(self._mean.classes)
        self._add_counter("trials", number)
        self._add_counter("missing")
        for name in ("sums", "baseline_sums"):
            self._add_counter(name, number, len(NAMES), dtype=torch.float64)
        self._add_counter("drawn_trials", number, self.replicates)
        self._add_counter("drawn_sums", number, len(NAMES), self.replicates, dtype=torch.float64)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the maps of one image, and ask the model.

        Raises:
            UserError: the image cannot be read or the model answers with something else than probabilities.
        """
        self._mean.require(sample.labels, sample.path)
        probe: Probe | None = None
        for label in sample.labels:
            score_map = (found.maps or {}).get(label)
            if score_map is None or not np.isfinite(score_map).all():
                self.missing += 1
                continue
            probe = self._probe[0](sample.path) if probe is None else probe
            row = self._index[label]
            values = self._measure(probe, score_map, row)
            self.trials[row] += 1
            self.sums[row] += values
            height, width = probe.image.shape[1:]
            self.baseline_sums[row] += self._measure(probe, centre_gaussian((width, height)), row)
            if self.replicates:
                draws = self._draws(sample)
                self.drawn_trials[row] += draws
                self.drawn_sums[row] += values[:, None] * draws

    def compute(self) -> tuple[Metric, ...]:
        """The four means; no value when no pair came with a map."""
        trials, classes = self.trials.tolist(), self._mean.classes
        tried = [i for i, trial in enumerate(trials) if trial]
        missing = f"; {int(self.missing)} without a map: left out" if self.missing else ""
        steps = f"; {self.steps} steps"
        draws, sums = self.drawn_trials.cpu().numpy(), self.drawn_sums.cpu().numpy()
        drawn = np.divide(sums, draws[:, None], out=np.full(sums.shape, np.nan), where=draws[:, None] > 0)
        return tuple(
            self._mean.metric(
                name,
                {classes[i]: float(self.sums[i, column]) / trials[i] for i in tried},
                {classes[i]: trials[i] for i in tried},
                baseline={classes[i]: float(self.baseline_sums[i, column]) / trials[i] for i in tried},
                note="(image, class) pairs" + (steps if column < 2 else "") + missing,
                resampled={classes[i]: drawn[i, column] for i in tried} if self.replicates else None,
            )
            for column, name in enumerate(NAMES)
        )

    def _measure(self, probe: Probe, score_map: FloatArray, class_index: int) -> torch.Tensor:
        image, model = probe
        curves = insertion_deletion(model, image, score_map, class_index, steps=self.steps, batch_size=self.batch_size)
        drop, rises = confidence_change(model, image, score_map, class_index)
        values = [curves.insertion_area, curves.deletion_area, drop, float(rises)]
        return torch.tensor(values, dtype=torch.float64, device=self.device)
