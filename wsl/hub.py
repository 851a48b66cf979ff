"""Runs on the Hugging Face hub: ``hf://user/model``, with ``@revision`` to pin one.

Tensors are safetensors and the rest is JSON: no other file is fetched. The hub's client keeps files in its cache
(``HF_HOME``) and reads them there when the hub cannot be reached, or without asking with ``HF_HUB_OFFLINE=1``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wsl.errors import DownloadError, UserError, first_line
from wsl.progress import quiet_import

log = logging.getLogger("wsl")

# A path of that text has one slash.
_SCHEME = re.compile(r"hf:/{1,2}")
_PART = r"[A-Za-z0-9_][\w.-]*"
_ADDRESS = re.compile(rf"hf:/{{1,2}}({_PART}/{_PART})(?:@([A-Za-z0-9_][\w./-]*))?", re.ASCII)
_FILES = ("model.safetensors", "boxes.json")


class Address(NamedTuple):
    """A repository of the hub, and the branch, tag or commit that is meant; None is its newest state."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")


def hub_address(weights: str | Path) -> Address | None:
    """The address that `weights` is; None where it has not the form of one.

    Raises:
        UserError: it begins like an address and names no repository.

    >>> hub_address("hf://someone/birds@v1"), hub_address("runs/gap")
    (Address(name='someone/birds', revision='v1'), None)
    >>> hub_address("hf://birds")
    Traceback (most recent call last):
    wsl.errors.UserError: 'hf://birds' names no repository of the hub: expected hf://user/model or hf://user/model@revision
    """
    text = weights.as_posix() if isinstance(weights, Path) else weights
    if not _SCHEME.match(text):
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None or ".." in text:
        raise UserError(
            f"{text!r} names no repository of the hub: expected hf://user/model or hf://user/model@revision"
        )
    return Address(found[1], found[2])


@functools.lru_cache(maxsize=16)
def fetch_run(address: Address) -> Path:
    """The folder of a run in the hub's cache, downloaded where it is not there yet.

    One process sees one state of a repository, whatever is uploaded while it runs.

    Raises:
        DownloadError: no such repository or revision, or the hub cannot be reached and the cache has nothing.
        UserError: huggingface_hub is not installed.
    """
    hub = hub_client()
    log.info("opening %s from the Hugging Face hub or its local cache", address)
    try:
        with quiet(hub):
            return Path(hub.snapshot_download(address.name, revision=address.revision, allow_patterns=list(_FILES)))
    except Exception as error:  # of the hub's client, of its HTTP library, or of the system
        raise DownloadError(
            f"{address} could not be downloaded ({first_line(error)}): check the name, the revision and the "
            "connection; of a private one, log in with `hf auth login`"
        ) from error


@contextlib.contextmanager
def quiet(hub: Any) -> Iterator[None]:
    """Inside, the hub's client shows no warnings, and progress on a terminal only; errors are raised anyway."""
    level, shown = hub.logging.get_verbosity(), not hub.utils.are_progress_bars_disabled()
    hidden = shown and not sys.stderr.isatty()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hub.logging.set_verbosity_error()
        if hidden:
            hub.utils.disable_progress_bars()
        try:
            yield
        finally:
            hub.logging.set_verbosity(level)
            if hidden:
                hub.utils.enable_progress_bars()


def hub_client() -> Any:
    """The module huggingface_hub.

    Raises:
        UserError: it is not installed.
    """
    try:
        with quiet_import():
            return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError("hf:// needs the hub extra: pip install 'wsl-toolkit[hub]'") from error
