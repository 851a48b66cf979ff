"""CPU tasks of a Ray cluster that read, decode and resize the images of an actor."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsl.errors import BadImageError, RunError
from wsl.inference.shards.engines.outcomes import Failure, attempt, result

if TYPE_CHECKING:
    from wsl.inference.inputs import Input
    from wsl.inference.preparing import Preparer
    from wsl.inference.shards.supply import Wanted

_CHUNK = 32
"""Images per task: with 224 px, 5 MB pass through the object store at a time."""
_RETRIES = 3


@dataclass(frozen=True)
class RayDecoders:
    """Prepares the images of an actor by `tasks` tasks at a time, on any machine with a free core.

    Each image is fetched within `seconds`. Ray runs a task whose process dies again. The original files do not pass
    through the object store.
    """

    tasks: int
    seconds: float

    def __call__(self, wanted: Sequence[Wanted], preparer: Preparer) -> Iterator[Input | BadImageError]:
        """The prepared images in order; the error takes the place of one that cannot be fetched or decoded.

        Raises:
            RunError: a task ended its process each time.
            UserError: a class is not one of the model's.
        """
        import ray

        from wsl.inference.shards.supply import prepared

        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(attempt)
        ours = ray.put(preparer.on_cpu)  # once, rather than with each task
        chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        started = ((chunk, task.remote(prepared, chunk, ours, self.seconds)) for chunk in chunks)
        waiting = deque(itertools.islice(started, self.tasks))
        try:
            while waiting:
                images = _result(*waiting[0])
                waiting.popleft()
                waiting.extend(itertools.islice(started, 1))
                yield from images
        finally:
            for _, unfinished in waiting:
                ray.cancel(unfinished)


def _result(chunk: Sequence[Wanted], task: Any) -> list[Input | BadImageError]:
    import ray

    try:
        outcome: list[Input | BadImageError] | Failure = ray.get(task)
    except ray.exceptions.WorkerCrashedError as error:
        raise RunError(
            f"the {len(chunk)} images from {chunk[0].row.path} on ended the process that decodes them "
            f"{1 + _RETRIES} times: expected it to have enough memory; if it has, run without --decoders"
        ) from error
    return result(outcome)
