"""The runs of a comparison: whether each is a model or predictions, and the short names in tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from wsl.checkpoints import FILE_NAME as CHECKPOINT
from wsl.checkpoints import ONNX, POOLINGS, check_weights, is_path, runs_below
from wsl.config import CompareConfig, EvaluateConfig
from wsl.config.evaluate import OF_A_MODEL
from wsl.errors import UserError, listed
from wsl.formats import detect_predictions, find_localizations, results_folder
from wsl.formats.predictions.recognise import other_contents
from wsl.hub import hub_address

_MODELS = (".safetensors", ".pth", ".pt", ONNX)
_EXPECTED = (
    "expected a run folder of wsl-train, a model's name, or predictions as wsl-evaluate --predictions reads them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One run as given: a model, with its ``classes`` if the checkpoint states them, or predictions.

    ``place`` is its location, by which two names of the same run are recognised; its last parts name the run in tables.
    """

    given: str
    is_model: bool
    place: tuple[str, ...]
    classes: tuple[str, ...] | None = None

    def settings(self, config: CompareConfig, metrics: Sequence[str]) -> EvaluateConfig:
        """The evaluation settings of this run: those of the comparison, with some metrics (all if empty)."""
        shared = {one.name for one in fields(CompareConfig)} & {one.name for one in fields(EvaluateConfig)}
        values = {name: getattr(config, name) for name in shared - {"out", "table", "metrics"}}
        if not self.is_model:
            values |= {name: default for name, (default, *_) in OF_A_MODEL.items() if name in values}
        # Nothing is written to this folder, because there are no plots and selected thresholds are not kept.
        values |= {"out": config.out or Path(), "metrics": tuple(metrics)}
        if self.is_model:
            return EvaluateConfig(weights=self.given, **values)
        return EvaluateConfig(predictions=Path(self.given), **values)


def find_run(given: str) -> Source:
    """Find out whether a name refers to a model or to predictions.

    Raises:
        UserError: the name refers to neither or to both.

    >>> find_run("resnet50").is_model
    True
    >>> find_run("runs/lost")
    Traceback (most recent call last):
    wsl.errors.UserError: no run at runs/lost (nothing is there): expected a run folder of wsl-train, ...
    """
    path = Path(given)
    if hub_address(given) is not None:
        recipe = check_weights(given)
        return Source(given=given, is_model=True, place=(given,), classes=None if recipe is None else recipe.classes)
    if not path.exists():
        if is_path(given):
            raise UserError(f"no run at {given} (nothing is there): {_EXPECTED}")
        return Source(given=given, is_model=True, place=(given,))
    if path.name == POOLINGS:
        folders = path.parent / "*"
        raise UserError(f"{path} lists the poolings of several runs, and is no run: expected their folders, {folders}/")
    model = (path / CHECKPOINT).is_file() if path.is_dir() else path.suffix in _MODELS
    predictions = _are_predictions(path)
    if model and predictions == "localizations" and path.is_dir():
        raise UserError(f"{path} holds a model and localizations: name {path / CHECKPOINT} or the localizations' file")
    if model:
        recipe = check_weights(given if is_path(given) else str(path.absolute()))
        named = path.parent if path.name == CHECKPOINT else path
        return Source(
            given=given, is_model=True, place=_parts(named), classes=None if recipe is None else recipe.classes
        )
    if predictions is None:
        if path.name == "evaluation.json" or (path / "evaluation.json").is_file():
            raise UserError(
                f"{path} is an evaluation, which does not contain the bootstrap samples that paired differences need: "
                "name the run or the predictions that were evaluated"
            )
        runs, data = runs_below(path), other_contents(path)
        held = f"the runs {listed(runs)}" if runs else data
        what = f"it holds {held}, neither a model nor predictions" if held else "neither a model nor predictions"
        hint = "; a data set is given as --data" if data and not runs else ""
        raise UserError(f"no run at {path} ({what}): {_EXPECTED}{hint}")
    named = results_folder(find_localizations(path)) if predictions == "localizations" else path
    return Source(given=given, is_model=False, place=_parts(named))


def _are_predictions(path: Path) -> str | None:
    if path.name == "evaluation.json":
        return None
    try:
        return detect_predictions(path)
    except UserError:
        return None


def _parts(path: Path) -> tuple[str, ...]:
    return Path(os.path.realpath(path)).parts


def check_distinct(sources: Sequence[Source]) -> None:
    """Refuse a run that is given twice.

    Raises:
        UserError: a run is given twice; the message shows both names.

    >>> check_distinct([find_run("resnet50"), find_run("resnet18")])
    """
    seen: dict[tuple[tuple[str, ...], bool], Source] = {}
    for source in sources:
        other = seen.setdefault((source.place, source.is_model), source)
        if other is not source:
            same = other.given if other.given == source.given else f"{other.given} and {source.given}"
            raise UserError(f"{same} is the same run twice: expected each run once")


def short_names(places: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The shortest distinct name for each path: its last parts, without those that all paths have in common.

    >>> short_names([("runs", "gap", "found"), ("runs", "lse", "found")])
    ('gap', 'lse')
    >>> short_names([("a", "gap"), ("b", "gap"), ("c", "found")])
    ('a/gap', 'b/gap', 'found')
    """
    shared = 0
    while all(len(place) > shared + 1 for place in places) and len({place[-shared - 1] for place in places}) == 1:
        shared += 1
    own = [place[: len(place) - shared] for place in places]
    names = []
    for i, place in enumerate(own):
        others = own[:i] + own[i + 1 :]
        ends = range(1, len(place))
        length = next((n for n in ends if all(other[-n:] != place[-n:] for other in others)), len(place))
        names.append("/".join(place[-length:]))
    return tuple(names)


def baseline_name(config: CompareConfig, names: Sequence[str]) -> str:
    """The name of the run with which the others are compared.

    Raises:
        UserError: it is not one of the runs.
    """
    if not config.baseline:
        return names[0]
    known = {**dict(zip(config.runs, names, strict=True)), **{name: name for name in names}}
    if config.baseline not in known:
        raise UserError(f"--baseline {config.baseline} is not one of the runs: expected one of {', '.join(names)}")
    return known[config.baseline]
