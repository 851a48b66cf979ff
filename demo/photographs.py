"""Draw the picture of the README: photographs from Python packages, localized by an ImageNet classifier.

pip install scikit-image scikit-learn
python demo/photographs.py --out demo/photographs.jpg    # downloads mobilenet_v2's weights
python demo/photographs.py --out demo/photographs.jpg --local-weights mobilenet_v2.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import wsl
from wsl.draw import contact_sheet, draw_boxes, fit_into, overlay

UInt8Array = npt.NDArray[np.uint8]
CELL = (300, 224)


def load_photographs() -> Mapping[str, UInt8Array]:
    """The photographs by photographer and licence: three from scikit-image (CC0), one from scikit-learn (CC BY 2.0)."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    return {
        "Stefan van der Walt, CC0": data.chelsea(),
        "Rachel Michetti, CC0": data.coffee(),
        "danielbuechele, CC BY 2.0": load_sample_image("china.jpg"),
        "Lav Varshney, CC0": np.repeat(data.camera()[..., None], 3, 2),
    }


def filling(photograph: UInt8Array) -> UInt8Array:
    """Crop a photograph around its centre to the aspect ratio of a cell, so that the sheet has no borders."""
    height, width = photograph.shape[:2]
    wide, high = min(width, round(height * CELL[0] / CELL[1])), min(height, round(width * CELL[1] / CELL[0]))
    left, top = (width - wide) // 2, (height - high) // 2
    return np.ascontiguousarray(photograph[top : top + high, left : left + wide])


def draw(model: wsl.Localizer, photographs: Mapping[str, UInt8Array]) -> UInt8Array:
    """Draw each photograph above its heatmap, with the box and the name of the best class."""
    predictor = wsl.Predictor(model, top_k=1, refine="affinity", device="cpu")
    above, below, titles = [], [], []
    for photograph in map(filling, photographs.values()):
        found = predictor(photograph)
        (label,) = found.boxes.labels
        photo = fit_into(photograph, CELL)
        size = (photo.shape[1], photo.shape[0])
        assert found.maps is not None
        above.append(photo)
        below.append(
            draw_boxes(overlay(photo, found.maps[label], opacity=0.6), found.boxes.scaled(found.size, to=size))
        )
        titles.append(f"{label} {found.scores[label]:.2f}")
    return contact_sheet([*above, *below], columns=len(above), titles=[*photographs, *titles], cell=CELL)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo/photographs.jpg"))
    parser.add_argument(
        "--local-weights", default="DEFAULT", help="file with the weights of mobilenet_v2 (default: downloaded)"
    )
    settings = parser.parse_args()
    model = wsl.Localizer.from_classifier("mobilenet_v2", weights=settings.local_weights)
    Image.fromarray(draw(model, load_photographs())).save(settings.out, quality=88)
    print(settings.out)


if __name__ == "__main__":
    main()
