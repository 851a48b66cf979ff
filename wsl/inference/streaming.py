"""What every predictor shares: streams of localizations from files, folders, globs and images."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Literal, overload

from wsl.errors import BadImageError
from wsl.inference.inputs import Sources, expand
from wsl.inference.stream import Errors, Stream
from wsl.results import Localization


class Streaming:
    """A predictor that localizes images in order; a subclass says how, in `_localized`."""

    @overload
    def stream(
        self, sources: Sources, *, errors: Literal["raise", "skip"] = "skip", workers: int | None = None
    ) -> Stream[Localization]: ...
    @overload
    def stream(
        self, sources: Sources, *, errors: Literal["return"], workers: int | None = None
    ) -> Stream[Localization | BadImageError]: ...

    def stream(self, sources: Sources, *, errors: Errors = "skip", workers: int | None = None) -> Stream[Any]:
        """Localize any number of images, in order, in constant memory, on all cores: an iterator of `Localization`.

        `sources` is a file, folder or glob, or an iterable of these and of images as for a call. `workers` threads read
        images in advance, for slow disks; None is the fastest for local files, 0 starts no thread. With `errors`
        "skip", an image that cannot be read is logged, counted in the stream's ``skipped`` and left out.

        Raises:
            UserError: there is no image, one was prepared for another size or for a network that gets whole images, or
                a GeoTIFF is to be opened and rasterio is not installed.
        """
        return Stream(self._localized(expand(sources), workers), errors)

    def _localized(self, sources: Iterable[Any], workers: int | None) -> Generator[Localization | BadImageError]:
        """The localizations of images in order, or the error of one that cannot be read."""
        raise NotImplementedError
