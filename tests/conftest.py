"""Fixtures shared by all rooms."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of development photographs (VOCdevkit, coco2017_subset, weights); skips where it is absent."""
    folder = Path(os.environ.get("WSL_REALDATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "VOCdevkit").is_dir():
        pytest.skip("no development photographs: set WSL_REALDATA to their folder")
    return folder


class Reference:
    """The slow, obvious implementations: ``reference.poolings`` is tests/reference/poolings.py."""

    def __getattr__(self, name: str) -> ModuleType:
        path = Path(__file__).parent / "reference" / f"{name}.py"
        if not path.is_file():
            raise AttributeError(name)
        spec = importlib.util.spec_from_file_location(f"wsl_tests_reference_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(self, name, module)
        return module


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The slow, obvious implementations to test against, a file a room."""
    return Reference()
