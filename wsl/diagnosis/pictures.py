"""The picture of a diagnosis: the image, its heatmap, and boxes at three thresholds."""

from __future__ import annotations

from wsl.diagnosis.evidence import Evidence, UInt8Array
from wsl.draw import cell_of, contact_sheet, draw_boxes, fit_into, overlay

_SIDE = 320


def threshold_picture(evidence: Evidence) -> UInt8Array | None:
    """The image, its heatmap, and the boxes at three thresholds, side by side; None if there is no map."""
    if evidence.score_map is None or evidence.decoded is None or evidence.found is None:
        return None
    photo = fit_into(evidence.decoded.pixels, (_SIDE, _SIDE))
    size = (photo.shape[1], photo.shape[0])
    pictures, titles = [photo, overlay(photo, evidence.score_map)], [evidence.image.name, f"map of {evidence.label}"]
    for threshold in evidence.thresholds:
        boxes = evidence.components(threshold).scaled(evidence.found.size, to=size)
        pictures.append(draw_boxes(photo, boxes, labels=False))
        own = " (used)" if threshold == evidence.threshold else ""
        titles.append(f"threshold {threshold:g}{own}")
    return contact_sheet(pictures, columns=len(pictures), titles=titles, cell=cell_of(photo))
