"""The preparation of an image for a network: read, decode and resize it, without the model and without a device."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass

from wsl.checkpoints import check_classes
from wsl.config import Preprocessing
from wsl.errors import BadImageError
from wsl.images import fit, place, to_rgb
from wsl.images.decode import read_bytes
from wsl.images.jpeg import ordinary_jpeg
from wsl.inference.inputs import Input, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparer:
    """Prepares images: called with a `Source`, it returns the `Input`.

    `Predictor.preparer` is that of a predictor. It is small when pickled, and loads neither torch nor a model where it
    is unpickled, so that any process can prepare images for the one that holds the predictor.

    ``max_pixels`` is the limit of an image's size, and ``classes`` are those of the model, to check the classes of a
    source. With ``decodes_jpeg``, ordinary JPEGs are left to the device of the predictor.

    >>> import numpy as np
    >>> prepare = Preparer(preprocessing=Preprocessing(image_size=64), max_pixels=10_000, classes={"cat": 0})
    >>> prepare(Source(np.zeros((40, 60, 3), np.uint8), "a")).pixels.shape
    (64, 64, 3)
    """

    preprocessing: Preprocessing
    max_pixels: int
    classes: Mapping[str, int]
    decodes_jpeg: bool = False

    @property
    def on_cpu(self) -> Preparer:
        """One that leaves nothing to a device."""
        return dataclasses.replace(self, decodes_jpeg=False)

    def __call__(self, source: Source) -> Input:
        """One image, read, decoded and resized.

        Raises:
            BadImageError: the image cannot be read.
            UserError: a class is not one of the model's.
        """
        image, id, wanted = source
        if wanted is not None:
            check_classes(wanted, self.classes)
            wanted = tuple(wanted)
        path = source.path
        if self.decodes_jpeg and isinstance(image, (str, os.PathLike, bytes)):
            data = image if isinstance(image, bytes) else read_bytes(path)
            header = ordinary_jpeg(data)
            if header is not None and header.width * header.height <= self.max_pixels:
                geometry = place(tuple(header), self.preprocessing)
                return Input(path=path, id=id, image=image, geometry=geometry, jpeg=data, classes=wanted)
        pixels, geometry = fit(to_rgb(image, self.max_pixels, id or "image"), self.preprocessing)
        return Input(path=path, id=id, image=image, geometry=geometry, pixels=pixels, classes=wanted)

    def attempt(self, source: Source | Input) -> Input | BadImageError:
        """One image prepared, or the error if it cannot be read; a prepared one is returned unchanged.

        Raises:
            UserError: a class is not one of the model's.
        """
        if isinstance(source, Input):
            return source
        try:
            return self(source)
        except BadImageError as error:
            return error
