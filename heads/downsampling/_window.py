"""The sliding window of a pooling: its arguments, their validation, and its output size."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

from torch import Tensor

from heads._checks import check_flag, check_floating
from heads._sizes import least, most

Size: TypeAlias = int | tuple[int, ...] | list[int]


class Window(NamedTuple):
    """Kernel, stride, padding and dilation of each dimension, as in torch's pooling layers.

    >>> Window.of(2, kernel_size=3, stride=(2, 1), padding=1).output_size((7, 7))
    [4, 7]
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    @classmethod
    def of(
        cls,
        dims: int,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> "Window":
        """The window with these arguments; ``stride`` defaults to ``kernel_size``.

        Raises:
            TypeError, ValueError: an argument has the wrong type or is too small, or padding exceeds half the window.

        >>> Window.of(2, kernel_size=2, padding=2)
        Traceback (most recent call last):
        ValueError: padding is 2, expected at most half of kernel_size 2: give 1 or less
        """
        kernel = _sizes(kernel_size, dims, "kernel_size", 1)
        window = cls(
            kernel=kernel,
            stride=kernel if stride is None else _sizes(stride, dims, "stride", 1),
            padding=_sizes(padding, dims, "padding", 0),
            dilation=_sizes(dilation, dims, "dilation", 1),
            ceil_mode=check_flag(ceil_mode, "ceil_mode"),
        )
        for width, added in zip(kernel, window.padding, strict=True):
            if added > width // 2:
                fits = width // 2
                raise ValueError(
                    f"padding is {added}, expected at most half of kernel_size {width}: give {fits} or less"
                )
        return window

    def reach(self) -> tuple[int, ...]:
        """The extent of the window from its first to its last place, including gaps of the dilation."""
        return tuple((width - 1) * step + 1 for width, step in zip(self.kernel, self.dilation, strict=True))

    def stays_inside(self) -> bool:
        """Whether every window lies inside the map."""
        return not self.ceil_mode and not any(self.padding)

    def output_size(self, sizes: Sequence[int]) -> list[int]:
        """The number of windows along each dimension, as in torch; no window starts outside the map."""
        places = []
        for size, reach, step, added in zip(sizes, self.reach(), self.stride, self.padding, strict=True):
            room = size + 2 * added - reach
            if self.ceil_mode and step > 1:
                places.append(cast(int, least(-(-room // step), (size + added - 1) // step)) + 1)
            else:
                places.append(room // step + 1)
        return places

    def overhang(self, sizes: Sequence[int]) -> list[int]:
        """How far the last window of ``ceil_mode`` reaches outside the padded map."""
        if not self.ceil_mode:
            return [0] * len(self.kernel)
        ends = zip(sizes, self.output_size(sizes), self.reach(), self.stride, self.padding, strict=True)
        return [
            cast(int, most((places - 1) * step + reach - size - 2 * added, 0))
            for size, places, reach, step, added in ends
        ]

    def check(self, maps: Tensor) -> None:
        """Accept floating point maps (N, C, …) or (C, …) that hold the window; N may be 0.

        Raises:
            TypeError: the maps are not a floating point tensor.
            ValueError: the number of dimensions is another one, or the maps are smaller than the window.

        >>> import torch
        >>> Window.of(2, kernel_size=5, padding=1).check(torch.ones(1, 2, 2))
        Traceback (most recent call last):
        ValueError: kernel_size is 5 on maps of shape (1, 2, 2) with padding 1: give 4 or less, or larger maps
        """
        dims = len(self.kernel)
        check_floating(maps, "maps")
        if maps.ndim not in (dims + 1, dims + 2):
            axes = ", ".join("LHWDHW"[dims * (dims - 1) // 2 :][:dims])
            raise ValueError(
                f"maps have shape {tuple(maps.shape)}, expected (N, C, {axes}) or (C, {axes}): "
                "add or merge dimensions with reshape()"
            )
        for size, width, reach, added, step in zip(
            maps.shape[-dims:], self.kernel, self.reach(), self.padding, self.dilation, strict=True
        ):
            if size + 2 * added < reach or size < 1 or (added and size < step):
                given = f"kernel_size is {width}" + (f" with dilation {step}" if step > 1 else "")
                fits = max(1, (size + 2 * added - 1) // step + 1)
                raise ValueError(
                    f"{given} on maps of shape {tuple(maps.shape)} with padding {added}: "
                    f"give {fits} or less, or larger maps"
                )


def as_given(size: Size, dims: int) -> int | tuple[int, ...]:
    """A size as stored in an attribute: one number if it is the same in all dimensions.

    >>> as_given((3, 3), 2), as_given([3, 2], 2)
    (3, (3, 2))
    """
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _sizes(value: Size, dims: int, name: str, lowest: int) -> tuple[int, ...]:
    wanted = f"an integer of {lowest} or more" + (f", or {dims} of them" if dims > 1 else "")
    message = f"{name} is {value!r}, expected {wanted}: try {name}={max(lowest, 2)}"
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise TypeError(message)
    if len(items) not in (1, dims) or min(items) < lowest:
        raise ValueError(message)
    return items * dims if len(items) == 1 else items
