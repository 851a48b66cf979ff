"""Fixtures of the heads' tests."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The slow, obvious implementations of tests/reference.py."""
    path = Path(__file__).parents[1] / "reference.py"
    spec = importlib.util.spec_from_file_location("wsl_tests_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
