"""Copies of exported images, in the folder where tools that read the format expect them."""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path, PurePosixPath

from wsl.config import ExportConfig
from wsl.errors import UserError
from wsl.files import replacing, write_text
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.layout import copies_list
from wsl.images.archives import is_image_file
from wsl.images.decode import read_bytes


class Copies:
    """Copies of the images in the folder ``new``, which is later moved into ``config.out``.

    ``old`` are the images that an earlier export copied to ``config.out``, and ``kept`` those of them that stay because
    they are themselves the sources.
    """

    def __init__(self, config: ExportConfig, new: Path, old: set[str]) -> None:
        self.kept: set[str] = set()
        self._config, self._new, self._old = config, new, old
        self._folder = "JPEGImages" if config.format == "voc-masks" else _image_folder(config.format)
        self._copied: list[str] = []

    def add(self, source: Path, placed: str) -> None:
        """Copy an image to the name ``placed`` in the folder of images.

        Raises:
            UserError: it does not exist, or its target is a different picture that was not copied by an export.
        """
        name = (PurePosixPath(self._folder) / placed).as_posix()
        if not is_image_file(source):
            raise UserError(f"{source}: no such image to copy: give the folder of the images with --image-root")
        target = self._config.out / name
        if target.exists():
            if source.exists() and target.samefile(source):
                self.kept |= self._old & {name}
                return
            if name not in self._old:
                if not _same(source, target):
                    raise UserError(f"{target} is a different picture from {source}: move it, or choose another --out")
                return
        with replacing(self._new / name) as temporary:
            if source.is_file():
                shutil.copyfile(source, temporary)
            else:  # in an archive
                temporary.write_bytes(read_bytes(source))
        self._copied.append(name)

    def finish(self) -> set[str]:
        """Write the list of copies, and return the name of the list that it replaces, if any."""
        name = copies_list(self._config.format)
        write_text(self._new / name, json.dumps(sorted({*self.kept, *self._copied})) + "\n")
        return {name} if (self._config.out / name).is_file() else set()


def _image_folder(name: str) -> str:
    known = FORMATS.get(name)
    return "images" if known is None or known.images is None else known.images


def _same(source: Path, target: Path) -> bool:
    """Whether two files have the same bytes; the first may be in an archive."""
    if source.is_file():
        return filecmp.cmp(source, target, shallow=False)
    return read_bytes(source) == target.read_bytes()
