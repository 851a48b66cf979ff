"""The steps of a batch in a predictor: load it on the device, run the network, measure maps, make localizations."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from wsl.errors import BadImageError, OutOfMemoryError, RunError
from wsl.images import fit
from wsl.images.cuda import UndecodedError
from wsl.images.decode import decode_image
from wsl.inference.inputs import Input, check_sizes
from wsl.inference.network import Loaded, Network, Output
from wsl.inference.reading import Measured, Reader
from wsl.inference.stream import batched
from wsl.results import Localization

log = logging.getLogger("wsl")
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Piece]):
    """A batch in progress, with the intermediate results of its readable images."""

    images: Sequence[Input | BadImageError]
    pieces: list[Piece]


class Batches:
    """The steps of a predictor for a batch, one for each stage of `wsl.inference.stream.pipeline`.

    A batch that is too large for the device's memory is halved, and so are all later ones.
    """

    def __init__(self, network: Network, reader: Reader, max_pixels: int) -> None:
        self._network, self._reader, self._max_pixels = network, reader, max_pixels
        self._process = os.getpid()
        self._fitting: int | None = None

    def load(self, batch: Sequence[Input | BadImageError]) -> Batch[Loaded]:
        """Load a batch on the device.

        Raises:
            UserError: an image was prepared for another size.
            RunError: the predictor was created before this process was forked.
        """
        if os.getpid() != self._process:
            raise RunError(
                "this predictor was made before the process was forked, and neither its threads nor a GPU survive "
                "that: make it in the new process, or send it there pickled ('spawn')"
            )
        inputs = [one for one in batch if isinstance(one, Input)]
        check_sizes(inputs, self._network.preprocessing.image_size)
        try:
            return Batch(batch, [self._network.load(inputs)] if inputs else [])
        except UndecodedError:
            return self.load([self._decoded(one) for one in batch])

    def launch(self, batch: Batch[Loaded]) -> Batch[Output]:
        """Queue a batch on the device, in as many pieces as its memory requires."""
        return Batch(batch.images, [output for loaded in batch.pieces for output in self._launch_piece(loaded)])

    def _launch_piece(self, loaded: Loaded) -> list[Output]:
        inputs, fitting = loaded.inputs, self._fitting
        if fitting is not None and len(inputs) > fitting:
            pieces = [self._network.load(some) for some in batched(inputs, fitting)]
            return [output for piece in pieces for output in self._launch_piece(piece)]
        try:
            return [self._network.launch(loaded)]
        except torch.OutOfMemoryError:
            self._require_several(len(inputs))
        self._halve(len(inputs))
        return self._launch_piece(loaded)

    def _require_several(self, images: int) -> None:
        if images == 1:
            side = self._network.preprocessing.image_size
            problem = f"{self._network.device} has too little memory for one image of {side} px"
            raise OutOfMemoryError(f"{problem}: take a smaller image size") from None

    def _halve(self, images: int) -> None:
        """Halve the batch size from now on. Called after the error, which holds memory, is released."""
        self._fitting = (images + 1) // 2
        log.warning("a batch of %d is too large for the memory of %s: halved", images, self._network.device)
        torch.cuda.empty_cache()

    def measure(self, batch: Batch[Output]) -> Batch[Measured]:
        """Wait for a batch, and measure its maps."""
        inputs = iter(one for one in batch.images if isinstance(one, Input))
        taken = ((list(itertools.islice(inputs, len(output.best))), output) for output in batch.pieces)
        return Batch(batch.images, [self._reader.measure(some, output) for some, output in taken])

    def describe(self, batch: Batch[Measured]) -> list[Localization | BadImageError]:
        """The localizations of a batch, with the error in place of an image that cannot be read."""
        found = iter([one for measured in batch.pieces for one in self._reader.describe(measured)])
        return [image if isinstance(image, BadImageError) else next(found) for image in batch.images]

    def _decoded(self, image: Input | BadImageError) -> Input | BadImageError:
        """The input with its pixels decoded on the CPU."""
        if isinstance(image, BadImageError) or image.jpeg is None:
            return image
        try:
            pixels = fit(decode_image(image.jpeg, self._max_pixels, str(image.path)), self._network.preprocessing)[0]
        except BadImageError as error:
            return error
        return dataclasses.replace(image, pixels=pixels, jpeg=None)

    def images(self, batch: Batch[Loaded]) -> torch.Tensor:
        """The normalised images of a batch, (N, 3, S, S) on the device.

        Raises:
            BadImageError: an image cannot be read.
        """
        for image in batch.images:
            if isinstance(image, BadImageError):
                raise image
        (loaded,) = batch.pieces
        images = self._network.images(loaded)
        if images.device.type == "cuda":
            # Decoded JPEGs are freed when this returns, while the device may still be reading them.
            torch.cuda.current_stream(images.device).synchronize()
        return images

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """The probabilities of normalised images, in as many pieces as the device's memory requires."""
        pieces = torch.split(images, self._fitting or len(images))
        try:
            return torch.cat([self._network.probabilities(piece) for piece in pieces])
        except torch.OutOfMemoryError:
            self._require_several(len(pieces[0]))
        self._halve(len(pieces[0]))
        return self.probabilities(images)

    def class_maps(self, batch: Batch[Loaded]) -> list[torch.Tensor | BadImageError]:
        """The raw maps of all classes of each image, with the error in place of an image that cannot be read."""
        maps = iter([one for loaded in batch.pieces for one in self._network.all_maps(loaded)])
        return [image if isinstance(image, BadImageError) else next(maps) for image in batch.images]


def default_batch_size(device: torch.device) -> int:
    """The default batch size on a device.

    >>> default_batch_size(torch.device("cpu"))
    8
    """
    # On the CPU larger batches do not fit into its caches, and their memory is returned to the system after each layer.
    return 128 if device.type == "cuda" else 8
