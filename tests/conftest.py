"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of development photographs (VOCdevkit, coco2017_subset, weights); skips where it is absent."""
    folder = Path(os.environ.get("WSL_REALDATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "VOCdevkit").is_dir():
        pytest.skip("no development photographs: set WSL_REALDATA to their folder")
    return folder
