"""The results of one shard: a Parquet file with one row per image, and its maps in a file beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wsl.documents.arrow import load_pyarrow
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.formats.map_shards import append_maps
from wsl.formats.shards.storage import Storage
from wsl.images.rows import ImageRow
from wsl.results import Localization

SUCCESS = "_SUCCESS"
_KEY = b"wsl-part"
_PART = re.compile(r"part-(\d{6,})-([0-9a-f]{12})\.parquet")
_UNFINISHED = re.compile(
    r"\.((?:part|maps)-\d{6,}-[0-9a-f]{12}|manifest|localize|_SUCCESS)\..*?(\.parquet|\.npy|\.json|)"
)


class PartName(NamedTuple):
    """The name of a part: the number of its shard, and the key of the settings with which it was made.

    >>> name = PartName(7, "0123456789ab")
    >>> str(name), name.maps
    ('part-000007-0123456789ab.parquet', 'maps-000007-0123456789ab.npy')
    >>> PartName.of("part-000007-0123456789ab.parquet") == name
    True
    """

    shard: int
    key: str

    def __str__(self) -> str:
        return f"part-{self.shard:06d}-{self.key}.parquet"

    @property
    def maps(self) -> str:
        """The name of the file with the shard's maps."""
        return f"maps-{self.shard:06d}-{self.key}.npy"

    @classmethod
    def of(cls, name: str) -> PartName | None:
        """Parse the name of a file; None if it is not the name of a part."""
        match = _PART.fullmatch(name)
        return None if match is None else cls(int(match[1]), match[2])


class Counts(NamedTuple):
    """The number of localized images and boxes in a part, and of the images that failed.

    >>> Counts(1, 2, 0) + Counts(1, 0, 1)
    Counts(images=2, boxes=2, failed=1)
    """

    images: int = 0
    boxes: int = 0
    failed: int = 0

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(self.images + other.images, self.boxes + other.boxes, self.failed + other.failed)


class PartWriter:
    """Writer that collects the rows of one shard and writes them at once; maps are written to their file as they come.

    >>> import tempfile
    >>> from collections import Counter
    >>> from wsl.boxes import Boxes
    >>> from wsl.formats.parquet_rows import read_parquet_rows
    >>> found = Localization(path="a.jpg", size=(4, 2), scores={"dog": 0.9}, boxes=Boxes.empty())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = PartWriter(Path(folder, "part.parquet"))
    ...     part.add(ImageRow("a.jpg", "a"), found)
    ...     part.fail(ImageRow("b.jpg", "b"), "the file is empty")
    ...     part.close({"shard": 0})
    ...     warnings = Counter()
    ...     [one.id for one in read_parquet_rows(part.file, "part", warnings)], sum(warnings.values())
    (['a'], 1)
    """

    def __init__(self, file: Path, maps: Path | None = None, maps_name: str = "") -> None:
        self.file, self.counts = file, Counts()
        self._maps, self._maps_name, self._values = maps, maps_name, 0
        if maps is not None:  # a killed process with the same number may have left one
            maps.unlink(missing_ok=True)
        self._rows: list[dict[str, Any]] = []
        self._scores, self._boxes, self._points = _Lists(2), _Lists(6), _Lists(3)

    def add(self, row: ImageRow, found: Localization) -> None:
        """Add the localization of an image, rounded as in ``localizations.jsonl``."""
        record = found.to_json()
        self._scores.add(record["scores"].items())
        self._boxes.add((box["label"], box["score"], *box["xyxy"]) for box in record["boxes"])
        self._points.add((label, *xy) for label, xy in record["points"].items())
        self._rows.append({"id": row.id, "path": row.path, "width": found.size[0], "height": found.size[1]})
        if self._maps is not None and found.maps:
            place = append_maps(self._maps, found.maps, self._values, self._maps_name)
            self._values += sum(one.size for one in found.maps.values())
            height, width = place.shape or (0, 0)
            self._rows[-1]["maps"] = {**place.to_json(), "height": height, "width": width}
        self.counts += Counts(images=1, boxes=len(record["boxes"]))

    def fail(self, row: ImageRow, error: str) -> None:
        """Add an image that failed, with the reason."""
        for lists in (self._scores, self._boxes, self._points):
            lists.add(())
        self._rows.append({"id": row.id, "path": row.path, "error": error})
        self.counts += Counts(failed=1)

    def close(self, known: Mapping[str, Any]) -> None:
        """Write the file, with the metadata `known` of the run and the counts in its footer."""
        pyarrow = load_pyarrow("a part")
        text, number, single, double = pyarrow.string(), pyarrow.int32(), pyarrow.float32(), pyarrow.float64()
        edges = [(name, single) for name in ("score", "x0", "y0", "x1", "y1")]
        columns = {name: pyarrow.array([row.get(name) for row in self._rows], text) for name in ("id", "path")}
        columns |= {name: pyarrow.array([row.get(name) for row in self._rows], number) for name in ("width", "height")}
        columns["scores"] = self._scores.array(pyarrow, [("label", text), ("score", double)])
        columns["boxes"] = self._boxes.array(pyarrow, [("label", text), *edges])
        columns["points"] = self._points.array(pyarrow, [("label", text), ("x", double), ("y", double)])
        place = [("file", text), ("labels", pyarrow.list_(text)), ("offset", pyarrow.int64())]
        stored = pyarrow.struct([*place, ("height", number), ("width", number)])
        columns["maps"] = pyarrow.array([row.get("maps") for row in self._rows], stored)
        columns["error"] = pyarrow.array([row.get("error") for row in self._rows], text)
        table = pyarrow.table(columns)
        footer = {_KEY: json.dumps({**known, **self.counts._asdict()})}
        pyarrow.parquet.write_table(table.replace_schema_metadata(footer), self.file, compression="zstd")


class _Lists:
    """A column with a list of structs in each row, stored as one flat list per field."""

    def __init__(self, fields: int) -> None:
        self._offsets = [0]
        self._fields: list[list[Any]] = [[] for _ in range(fields)]

    def add(self, items: Any) -> None:
        for item in items:
            for field, value in zip(self._fields, item, strict=True):
                field.append(value)
        self._offsets.append(len(self._fields[0]))

    def array(self, pyarrow: Any, fields: list[tuple[str, Any]]) -> Any:
        arrays = [pyarrow.array(values, kind) for values, (_, kind) in zip(self._fields, fields, strict=True)]
        structs = pyarrow.StructArray.from_arrays(arrays, names=[name for name, _ in fields])
        return pyarrow.ListArray.from_arrays(pyarrow.array(self._offsets, pyarrow.int32()), structs)


def part_counts(storage: Storage, name: PartName) -> Counts:
    """The counts in a part's footer.

    Raises:
        UserError: the file is not a part of wsl-localize.
    """
    pyarrow = load_pyarrow("a part")
    try:
        with storage.open(str(name)) as file:
            known = json.loads((pyarrow.parquet.read_metadata(file).metadata or {})[_KEY])
        return Counts(**{field: int(known[field]) for field in Counts._fields})
    except (OSError, KeyError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{storage}/{name} is not a part of wsl-localize ({describe(error)}): remove it, and it is made again"
        ) from error


def parts_of(storage: Storage) -> dict[str, set[int]]:
    """The shards that have a part, by the key of their settings.

    >>> parts_of(Storage("no such folder"))
    {}
    """
    found: dict[str, set[int]] = {}
    for name in filter(None, map(PartName.of, storage.names())):
        found.setdefault(name.key, set()).add(name.shard)
    return found


def unfinished_files(storage: Storage) -> Iterator[tuple[str, str]]:
    """The temporary files that writers left behind or are still writing, each with its intended final name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in (".manifest.7.new.parquet", "._SUCCESS.7", ".bashrc"):
    ...         Path(folder, name).touch()
    ...     [final for _, final in unfinished_files(Storage(folder))]
    ['_SUCCESS', 'manifest.parquet']
    """
    for name in sorted(storage.names()):
        match = _UNFINISHED.fullmatch(name)
        if match is not None:
            yield name, match[1] + match[2]
