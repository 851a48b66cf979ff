"""A Ray cluster: actors that each hold a predictor and return only receipts."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsl.config import LocalizeConfig, RuntimeConfig, ShardConfig
from wsl.errors import UserError
from wsl.inference.shards.engines.outcomes import Failure, attempt, result
from wsl.inference.shards.engines.ray_decoders import RayDecoders
from wsl.inference.shards.receipt import Receipt

if TYPE_CHECKING:
    from wsl.inference.opening import Machine

_SHARDS_A_TASK = 16
_OUTCOME = "outcome"


@dataclass(frozen=True)
class RayEngine:
    """Runs shards in an actor pool of Ray Data, of `actors` actors (None: as many as the cluster has room for).

    An actor gets the numbers of shards, and reads images and writes parts itself; only receipts pass through Ray's
    object store. The task of a dead actor, a few shards, is given to another actor, which finds the finished ones and
    repeats at most one shard. Ray's own checkpoints of rows are not used, because parts serve that purpose.

    With `decoders`, the images of each actor are read by as many CPU tasks, each within `seconds`, and pass through the
    object store in the size of the network's input.
    """

    actors: int | None
    gpus: float
    cpus: float
    decoders: int | None = None
    seconds: float = ShardConfig.image_seconds

    @classmethod
    def from_config(cls, config: LocalizeConfig) -> RayEngine:
        """One actor per GPU, unless the device is another one.

        Raises:
            UserError: Ray is not installed, or the cluster has no core for decoders.
        """
        cluster = _load_ray().cluster_resources()
        on_gpu = config.runtime.device in ("auto", "cuda") and cluster.get("GPU", 0) >= 1
        engine = cls(
            actors=config.sharding.processes,
            gpus=float(on_gpu),
            cpus=0.0 if on_gpu else 1.0,
            decoders=config.sharding.decoders,
            seconds=config.sharding.image_seconds,
        )
        engine.check_cores(cluster)
        return engine

    def check_cores(self, cluster: Mapping[str, float]) -> None:
        """Check that a cluster with these resources has a core for decoders beside that of an actor.

        Raises:
            UserError: it has none.

        >>> RayEngine(actors=None, gpus=0, cpus=1, decoders=2).check_cores({"CPU": 2.0})
        """
        cores, expected = int(cluster.get("CPU", 0)), 1 + int(self.cpus)
        if self.decoders is not None and cores < expected:
            raise UserError(
                f"the number of the cluster's cores is {cores}, expected {expected} or more with --decoders"
                f"{', one of which an actor takes' if self.cpus else ''}: add a machine to the cluster, or leave out "
                "--decoders, so that each actor reads its own images"
            )

    def supply(self) -> RayDecoders | None:
        """CPU tasks of the cluster if the settings ask for them, else threads of the actors."""
        return None if self.decoders is None else RayDecoders(self.decoders, self.seconds)

    def share(self, shards: Sequence[int]) -> Sequence[int]:
        """All of them."""
        return shards

    def machine(self, runtime: RuntimeConfig) -> Machine:
        """The machine of an actor, because the machine that starts the run may have no GPU.

        Raises:
            UserError: it does not have the device of the settings.
        """
        ray = _load_ray()
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus)(attempt)
        machine: Machine | Failure = ray.get(task.remote(_machine, runtime))
        return result(machine)

    def run(self, process_shard: Callable[[int], Receipt], shards: Sequence[int]) -> Iterator[Receipt]:
        """The receipts of all shards as they are done.

        Raises:
            UserError, RunError: an actor raised it; the run ends then.
        """
        if not shards:
            return
        ray = _load_ray()
        actors = min(self._most_actors(ray.cluster_resources()), len(shards))
        tasks = max(actors, len(shards) // _SHARDS_A_TASK)
        numbers = [{"shard": shard} for shard in shards]
        context = ray.data.DataContext.get_current()
        shown, context.enable_progress_bars = context.enable_progress_bars, False  # wsl-localize shows its own
        dataset = ray.data.from_items(numbers, override_num_blocks=tasks).map_batches(
            _Actor,
            fn_constructor_args=(process_shard,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
        )
        context.enable_progress_bars = shown
        for row in dataset.iter_rows():
            outcome: Receipt | Failure = pickle.loads(row[_OUTCOME])  # noqa: S301 - of our own actor
            yield result(outcome)

    def _most_actors(self, cluster: Mapping[str, float]) -> int:
        room = max(1, int(cluster.get("GPU" if self.gpus else "CPU", 1)))
        if self.decoders is None or not self.cpus:
            return self.actors or room
        # An actor keeps its core while it waits for decoders, which would wait for that core forever.
        return max(1, min(self.actors or room, room - 1))


def _machine(runtime: RuntimeConfig) -> Machine:
    from wsl.inference.opening import Machine  # and torch

    return Machine.of(runtime)


class _Actor:
    """The class that a Ray actor runs."""

    def __init__(self, process_shard: Callable[[int], Receipt]) -> None:
        self._process_shard = process_shard

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        outcomes = [attempt(self._process_shard, int(shard)) for shard in batch["shard"]]
        return {_OUTCOME: np.array([pickle.dumps(one) for one in outcomes], object)}


def _load_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError("--engine ray needs Ray, which is not installed: pip install 'wsl-toolkit[ray]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
