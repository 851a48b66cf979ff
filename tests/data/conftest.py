"""Small data sets of files."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a text below a folder of the test, and give its path."""

    def write(name: str, text: str = "") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture of a size (width, height) below a folder of the test, and give its path."""

    def picture(name: str, size: tuple[int, int] = (40, 20)) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((size[1], size[0], 3), 90, np.uint8))
        return file

    return picture
