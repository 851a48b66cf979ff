"""A diagnosis as text: a few lines for each step, and the advice."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass

import numpy as np

from wsl.config import DoctorConfig
from wsl.diagnosis.evidence import Decoded, Evidence, Seen
from wsl.diagnosis.finding import Finding

_ORIENTATIONS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "turned upside down and mirrored",
    5: "mirrored and turned",
    6: "turned clockwise",
    7: "mirrored and turned",
    8: "turned counterclockwise",
}
_CLASSES = 5
_THRESHOLDS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)


def described(evidence: Evidence) -> str:
    """The result of each step, as lines of text.

    >>> from pathlib import Path
    >>> described(Evidence(image=Path("a.jpg"), scores={"cat": 0.7, "dog": 0.3}))
    'classes     cat 0.700, dog 0.300'
    """
    return "\n".join(f"{name:<10}  {line}" for name, line in _lines(evidence))


def advice(found: Sequence[Finding], config: DoctorConfig) -> str:
    """The first finding with its advice and a command that tries it, and one line for each further finding."""
    if not found:
        return "Nothing looks wrong. Look at the pictures; wsl/TROUBLESHOOTING.md lists symptoms that need an eye."
    first, *others = found
    lines = [f"First: {first}"]
    if first.flags:
        lines.append(f"  {shlex.join(command(config, first.flags))}")
    lines += [f"Then:  {finding.symptom}: {finding.what}" for finding in others]
    return "\n".join(lines)


def command(config: DoctorConfig, flags: Sequence[str]) -> list[str]:
    """The command line of the settings, with some flags replaced.

    >>> from pathlib import Path
    >>> command(DoctorConfig(image=Path("a.jpg"), weights="resnet50", label="dog"), ["--refine", "none"])
    ['wsl-doctor', 'a.jpg', '--weights', 'resnet50', '--label', 'dog', '--refine', 'none']
    """
    default = DoctorConfig(image=config.image, weights="")
    words = ["wsl-doctor", str(config.image)]
    for one in fields(DoctorConfig):
        settings = (getattr(config, one.name), getattr(default, one.name))
        names = [part.name for part in fields(settings[0])] if is_dataclass(settings[0]) else []
        for name in names or [one.name]:
            value, usual = (getattr(part, name) if names else part for part in settings)
            flag = f"--{name.replace('_', '-')}"
            if value != usual and flag not in flags:
                words += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    return [*words, *flags]


def _lines(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.decoded is not None:
        yield from zip(("image", "values"), _decoded(evidence.decoded), strict=True)
    if evidence.seen is not None:
        yield "input", _seen(evidence.seen)
    if evidence.scores:
        best = sorted(evidence.scores.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {score:.3f}" for name, score in best[:_CLASSES])
        more = len(best) - _CLASSES
        yield "classes", shown + (f" and {more} more" if more > 0 else "")
    if evidence.raw is not None:
        yield "map", f"of {evidence.label}: {_map(evidence)}"
        if evidence.hidden is not None:
            nothing, hottest, coldest = evidence.hidden
            yield "", f"probability {nothing:.3f}, without the hottest quarter {hottest:.3f}, the coldest {coldest:.3f}"
    if evidence.score_map is not None and not evidence.blank:
        yield "thresholds", f"{'':9}{'of the image':>13}{'components':>12}"
        for threshold in sorted({*_THRESHOLDS, evidence.threshold}):
            share, components = evidence.above(threshold)
            used = f"   used, rule {evidence.boxes.box_rule}" if threshold == evidence.threshold else ""
            yield "", f"{threshold:<9g}{share:>13.0%}{components:>12}{used}"
    if evidence.found is not None:
        yield "boxes", _boxes(evidence)
    if evidence.seconds:
        yield "seconds", ", ".join(f"{stage} {value:.2f}" for stage, value in evidence.seconds.items())


def _decoded(decoded: Decoded) -> tuple[str, str]:
    pixels, facts = decoded
    height, width = pixels.shape[:2]
    turned = _ORIENTATIONS.get(facts.orientation)
    orientation = f"EXIF orientation {facts.orientation}" + (f" ({turned})" if turned else "")
    frames = f", the first of {facts.frames} frames" if facts.frames > 1 else ""
    means = ", ".join(f"{mean:.0f}" for mean in pixels.reshape(-1, 3).mean(axis=0))
    return (
        f"{facts.format}, mode {facts.mode}, {width} x {height} pixels, {orientation}{frames}",
        f"{int(pixels.min())} to {int(pixels.max())} of 255, means of red, green and blue {means}",
    )


def _seen(seen: Seen) -> str:
    side = seen.pixels.shape[0]
    fitted = {"warp": "stretched to the square", "letterbox": "padded to the square"}[seen.resize]
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (seen.mean, seen.std))
    return f"{side} x {side} pixels, {fitted}; mean ({mean}), std ({std})"


def _map(evidence: Evidence) -> str:
    raw = evidence.raw
    assert raw is not None
    shape = f"{raw.shape[0]} x {raw.shape[1]} cells"
    if not np.isfinite(raw).all():
        return f"{shape}, {int((~np.isfinite(raw)).sum())} of them not finite"
    values = f"{shape}, {float(raw.min()):.3g} to {float(raw.max()):.3g}"
    if evidence.found is None or evidence.label not in evidence.found.points:
        return values
    (x, y), (width, height) = evidence.found.points[evidence.label], evidence.found.size
    refined = "" if evidence.refine == "none" else f"; boxes are drawn of the map refined by {evidence.refine}"
    return f"{values}, highest at x {x:.0f}, y {y:.0f} ({x / width:.0%}, {y / height:.0%}){refined}"


def _boxes(evidence: Evidence) -> str:
    assert evidence.found is not None
    boxes = evidence.found.boxes
    if not len(boxes):
        return "none"
    shares = evidence.share(boxes)
    return "; ".join(
        f"{', '.join(f'{edge:.0f}' for edge in xyxy)} ({share:.0%} of the image)"
        for xyxy, share in zip(boxes.xyxy.tolist(), shares.tolist(), strict=True)
    )
