"""Seeds of torch's random numbers, set at every step."""

from __future__ import annotations

import torch


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and of a device, as `torch.manual_seed` does.

    That function also queues the seed for each kind of device that is not in use, and records where it was called from,
    which takes up to a millisecond.

    >>> seed_device(0, torch.device("cpu"))
    >>> first = torch.rand(2)
    >>> seed_device(0, torch.device("cpu"))
    >>> torch.equal(torch.rand(2), first)
    True
    """
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call] # else there are no generators yet
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
    torch.default_generator.manual_seed(seed)
