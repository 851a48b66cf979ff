"""Engines, which run the shards of a job: a registry with one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from wsl.config import LocalizeConfig, RuntimeConfig
from wsl.errors import UserError
from wsl.inference.shards.engines.array import ArrayEngine
from wsl.inference.shards.engines.local import LocalEngine
from wsl.inference.shards.engines.on_ray import RayEngine
from wsl.inference.shards.receipt import Receipt

if TYPE_CHECKING:
    from wsl.inference.opening import Machine
    from wsl.inference.shards.supply import Supply

ProcessShard = Callable[[int], Receipt]


class Engine(Protocol):
    """Runs shards somewhere, in any order."""

    def machine(self, runtime: RuntimeConfig) -> Machine | None:
        """The kind of the workers' machines; None for this one."""

    def supply(self) -> Supply | None:
        """Where workers get their images from; None for threads of their own."""

    def share(self, shards: Sequence[int]) -> Sequence[int]:
        """The shards that `run` would do."""

    def run(self, process_shard: ProcessShard, shards: Sequence[int]) -> Iterator[Receipt]:
        """The receipts of shards as they are done; `process_shard` can be pickled, and called again for a shard."""


ENGINES: Mapping[str, Callable[[LocalizeConfig], Engine]] = MappingProxyType(
    {
        "local": LocalEngine.from_config,
        "array": ArrayEngine.from_config,
        "ray": RayEngine.from_config,
    }
)
"""Every engine by name."""


def create_engine(config: LocalizeConfig) -> Engine:
    """The engine that the settings name.

    Raises:
        UserError: no engine is named, or it cannot run here.
    """
    name = str(config.sharding.engine)
    if name not in ENGINES:
        raise UserError(f"engine is {name!r}, expected one of {', '.join(ENGINES)}")
    return ENGINES[name](config)
