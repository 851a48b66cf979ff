"""The number of images of a step that fit into a GPU's memory, for the message of an out-of-memory error."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wsl.errors import RunError
from wsl.training.network import Example, TrainedNetwork

# The fraction of memory to count on: some is lost to the allocator, and other steps may need more than this one.
_SPARE = 0.9


def too_large(network: TrainedNetwork, example: Example) -> RunError:
    """The error for a step that ran out of memory; suggests batch sizes, measured by passes of one and two images."""
    count, device = len(example.targets), example.inputs.device
    size = " x ".join(map(str, example.inputs.shape[2:]))
    message = f"the memory of {device} does not hold a step of {count} images of {size}"
    network.zero_grad(set_to_none=True)
    fit = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        fit = images_that_fit(lambda images: _peak(network, example, images), total)
    more = "--checkpointing, " if network.could_checkpoint else ""
    if fit < 1:
        return RunError(f"{message}: give {more}a smaller --image-size, or --freeze-backbone")
    parts = -(-count // min(fit, count))
    return RunError(
        f"{message}, and about {fit} would fit: --accumulate {max(2, parts)} is the same step in parts; or give "
        f"{more}--batch-size {fit} or a smaller --image-size"
    )


def images_that_fit(peak: Callable[[int], int], total: int) -> int:
    """The largest number of images that fit into memory, extrapolated from one and two images.

    >>> images_that_fit(lambda images: 100 + 50 * images, total=1000)
    16
    """
    try:
        one, two = peak(1), peak(2)
    except torch.OutOfMemoryError:
        return 0
    each = max(1, two - one)
    return max(0, int((_SPARE * total - (one - each)) // each))


def _peak(network: TrainedNetwork, example: Example, images: int) -> int:
    """The peak memory of a forward and backward pass of `images` images."""
    device = example.inputs.device
    torch.cuda.reset_peak_memory_stats(device)
    parts = (example.inputs, example.targets, example.mask, example.index)
    inputs, targets, mask, index = (tensor[:images] for tensor in parts)
    network(Example(inputs, targets, mask, index, images)).sum().backward()
    network.zero_grad(set_to_none=True)
    return torch.cuda.max_memory_allocated(device)
