"""Localizing in shards: a job for any number of processes, each of whose parts is either complete or absent."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsl.inference.shards.receipt import Receipt

if TYPE_CHECKING:
    from wsl.inference.shards.engines import ENGINES, Engine, create_engine
    from wsl.inference.shards.job import Job
    from wsl.inference.shards.worker import ShardWorker

# These load torch or an engine.
_LAZY = {
    "ENGINES": "wsl.inference.shards.engines",
    "Engine": "wsl.inference.shards.engines",
    "Job": "wsl.inference.shards.job",
    "ShardWorker": "wsl.inference.shards.worker",
    "create_engine": "wsl.inference.shards.engines",
}

__all__ = ["ENGINES", "Engine", "Job", "Receipt", "ShardWorker", "create_engine"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wsl.inference.shards' has no attribute {name!r}")
