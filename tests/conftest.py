"""Fixtures shared by all rooms."""

import contextlib
import gc
import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.doctest import DoctestModule
from hypothesis import HealthCheck, settings

# No limits of time: the first example of a test may compile what it calls, and the machine may be busy. `make test`
# tries the same few examples in every run, `make long` many others each time.
untimed: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, derandomize=True, **untimed)
settings.register_profile("thorough", max_examples=500, **untimed)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# In the background of a script and under `nohup` these signals are ignored, by the commands under test as well.
for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), usual)


class Examples:
    """Modules without an example are not imported in search of one: gradio and others would be loaded for nothing."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path) -> Iterator[Any]:
        found = yield
        if any(isinstance(each, DoctestModule) for each in found) and b">>>" not in file_path.read_bytes():
            return [each for each in found if not isinstance(each, DoctestModule)]
        return found


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin: hooks of this file are not asked about files outside its folder."""
    config.pluginmanager.register(Examples())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``quick(names, examples)``: of a parametrized test, those that are run by ``make test``; the others are long.

    The names are those of its ``parametrize``; the examples are values for them, or a function that says which are.
    """
    for item in items:
        for mark in item.iter_markers("quick"):
            names, examples = mark.args
            given = [item.callspec.params[name.strip()] for name in names.split(",")]
            value = given[0] if len(given) == 1 else tuple(given)
            if not (examples(value) if callable(examples) else value in examples):
                item.add_marker(pytest.mark.long)


def pytest_collection_finish() -> None:
    """What is loaded by now stays until the end: the garbage collector need not look through it each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end, libraries look for objects that they have lost."""
    gc.unfreeze()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums in one order: torch computes on one thread while a module's tests run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """While the context of ``interrupted(epoch)`` lasts, a training is interrupted where that epoch begins."""
    from wsl.training import learner

    run_epoch = learner.run_epoch

    @contextlib.contextmanager
    def patched(last: int) -> Iterator[None]:
        def dying(*args: Any, epoch: int, **kwargs: Any) -> Any:
            if epoch == last:
                raise KeyboardInterrupt
            return run_epoch(*args, epoch=epoch, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(learner, "run_epoch", dying)
            yield

    return patched


QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium, Debian's or the one that CHROMIUM names; its event loop ends with the module that asks."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: install it (apt-get install chromium) or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()
