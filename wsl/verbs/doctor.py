"""Diagnose the localization of one image, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl.checkpoints import check_model
from wsl.config import DoctorConfig, RuntimeConfig
from wsl.config.keywords import by_keywords
from wsl.diagnosis.checks import findings
from wsl.diagnosis.evidence import Evidence
from wsl.diagnosis.finding import Finding
from wsl.diagnosis.text import advice, described
from wsl.errors import BadImageError, DownloadError, UserError
from wsl.files import check_folder
from wsl.images.archives import archived
from wsl.progress import loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The evidence about an image, the findings (the likeliest cause first), and the pictures written.

    >>> config = DoctorConfig(image=Path("a.jpg"), weights="resnet50")
    >>> print(Diagnosis(config=config, evidence=Evidence(image=Path("a.jpg")), findings=()))
    Nothing looks wrong. Look at the pictures; wsl/TROUBLESHOOTING.md lists symptoms that need an eye.
    """

    config: DoctorConfig
    evidence: Evidence
    findings: tuple[Finding, ...]
    pictures: tuple[Path, ...] = ()

    def __str__(self) -> str:
        parts = (described(self.evidence), "\n".join(map(str, self.pictures)), advice(self.findings, self.config))
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> Mapping[str, Any]:
        """The findings and the numbers on which they are based, as plain values."""
        evidence = self.evidence
        return {
            "image": str(evidence.image),
            "label": evidence.label,
            "scores": {
                name: score if math.isfinite(score) else None
                for name, score in sorted(evidence.scores.items(), key=lambda item: -item[1])[:100]
            },
            "boxes": [] if evidence.found is None else evidence.found.boxes.xyxy.tolist(),
            "seconds": dict(evidence.seconds),
            "findings": [finding._asdict() for finding in self.findings],
            "pictures": [str(path) for path in self.pictures],
        }


@by_keywords(DoctorConfig, "image")
def doctor(config: DoctorConfig) -> Diagnosis:
    """Follow an image from its file to its boxes, report what looks wrong, and draw the network's input.

    Settings are a `DoctorConfig`, or keywords with the names of the flags:
    ``wsl.doctor("photo.jpg", weights="resnet50")``. An unreadable image, weights that cannot be downloaded, and
    insufficient memory are reported as findings rather than errors.

    Raises:
        UserError: the file, model or class does not exist, a setting is out of range, or the model does not support the
            refinement.
    """
    if not config.image.exists() and archived(config.image) is None:
        raise UserError(f"{config.image}: no such file, expected an image")
    if config.image.is_dir():
        raise UserError(f"{config.image} is a folder, expected one of its images")
    check_folder(config.out, "the pictures")
    labels = [config.label] if config.label else []
    check_model(config.weights, config.local_weights, config.cam.model, labels)
    evidence = _evidence(config)
    return Diagnosis(
        config=config, evidence=evidence, findings=findings(evidence), pictures=_pictures(evidence, config.out)
    )


def _evidence(config: DoctorConfig) -> Evidence:
    nothing = Evidence(image=config.image)
    with loading(config.weights):
        from wsl.diagnosis.examine import decode, examine
        from wsl.inference.opening import OpenedModel
    try:
        decoded = decode(config.image)
    except BadImageError as error:
        return dataclasses.replace(nothing, failure=error)
    runtime = RuntimeConfig(device=config.device, precision=config.precision)
    try:
        with loading(config.weights):
            opened = OpenedModel.open_for(config, config.image, batch_size=1, runtime=runtime)
    except DownloadError as error:
        return dataclasses.replace(nothing, decoded=decoded, failure=error)
    return examine(opened, decoded, config.image, config.label)


def _pictures(evidence: Evidence, out: Path) -> tuple[Path, ...]:
    """Write the pictures that could be made."""
    from wsl.diagnosis.pictures import threshold_picture
    from wsl.draw import save_image  # matplotlib

    seen = None if evidence.seen is None else evidence.seen.pixels
    written = []
    for name, picture in (("input.png", seen), ("thresholds.png", threshold_picture(evidence))):
        if picture is not None:
            out.mkdir(parents=True, exist_ok=True)
            save_image(out / name, picture)
            written.append(out / name)
    return tuple(written)
