"""Where the maps of an image lie on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsl.limits import stated_size


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMaps:
    """Where the maps of one image lie: those of ``labels``, (h, w) each, one behind another in a file of many.

    ``file`` is relative to the results file, ``offset`` counts values from the file's first. Without a ``shape`` the
    file holds the maps of this image only.

    >>> StoredMaps.from_json({"file": "maps/shard-0000.npy", "labels": ["dog"], "offset": 49, "shape": [7, 7]}).shape
    (7, 7)
    """

    file: str
    labels: tuple[str, ...]
    offset: int = 0
    shape: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the record of the image."""
        place: dict[str, Any] = {"file": self.file, "labels": list(self.labels)}
        return place if self.shape is None else {**place, "offset": self.offset, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> StoredMaps:
        """The inverse of `to_json`.

        Raises:
            ValueError: a number is out of range.
        """
        shape = record.get("shape")
        if shape is not None:
            height, width = shape
            width, height = stated_size(width, height, "maps")
            shape = (height, width)
        offset = record.get("offset", 0)
        if type(offset) is not int or not 0 <= offset < 1 << 62:
            raise ValueError(f"maps at offset {offset!r:.40}")
        labels = tuple(text_of(label) for label in record["labels"])
        return cls(file=text_of(record["file"]), labels=labels, offset=offset, shape=shape)


def text_of(value: Any) -> str:
    """A value of a record that must be a text, without the character that ends paths.

    >>> text_of("dog")
    'dog'
    """
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{value!r:.40} is not a text")
    return value
