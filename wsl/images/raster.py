"""GeoTIFFs, read window by window with rasterio, which the extra ``geo`` installs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.documents.guard import describe
from wsl.errors import BadImageError, UserError
from wsl.limits import check_size

Crs = Literal["wgs84", "source"]
SUFFIXES = (".tif", ".tiff")
_WGS84 = "EPSG:4326"
# Pixels per side of the sample for percentiles, and rows read for it at a time (rounded up to whole blocks).
_SAMPLED, _ROWS = 1024, 256
_PERCENTILES = (2, 98)
# Megabytes of cached blocks; by default GDAL keeps a twentieth of the machine's memory.
_CACHE = 128


class Window(NamedTuple):
    """A part of a raster: its upper left pixel, width and height."""

    x: int
    y: int
    width: int
    height: int


class Place(NamedTuple):
    """The georeference of a raster: its affine transform from (column, row) to (x, y), a to f, and its CRS."""

    transform: tuple[float, float, float, float, float, float]
    crs: str


class Raster:
    """An open GeoTIFF, as 8-bit RGB.

    Bands of 8 bits are unchanged. Each other band is scaled so that its 2nd and 98th percentiles become 0 and 255, and
    clipped. Percentiles are computed from every n-th pixel of the raster, at most 1,024 per side, without no-data
    values.
    """

    def __init__(self, dataset: Any, path: Path, bands: Sequence[int]) -> None:
        self._dataset, self.path = dataset, path
        self.size = (int(dataset.width), int(dataset.height))
        given = tuple(bands) or ((1, 2, 3) if dataset.count >= 3 else (1,))
        if max(given) > dataset.count:
            raise BadImageError(f"{path}: has {dataset.count} bands, and band {max(given)} is asked for")
        self._bands = list(given)
        self._range: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
        kinds = {str(dataset.dtypes[band - 1]) for band in given}
        if any(kind.startswith("complex") for kind in kinds):
            raise BadImageError(f"{path}: its values are complex, expected numbers that can be shown")
        if kinds != {"uint8"}:
            self._range = self._percentiles()

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, path: Path, bands: Sequence[int] = (), *, data: bytes | None = None, max_pixels: int | None = None
    ) -> Iterator[Raster]:
        """Open a raster for the duration of a block; `data` are the bytes of the file if it is not on a disk.

        Raises:
            UserError: rasterio is not installed.
            BadImageError: the file does not exist, is not a GeoTIFF, lacks a band, or has more than `max_pixels`; None
                takes the limit of `wsl.limits`.
        """
        with _dataset(path, data, max_pixels) as dataset:
            yield cls(dataset, path, bands)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """The pixels of a window.

        Shape:
            (height, width, 3).

        Raises:
            BadImageError: they cannot be read.
        """
        values = self._read(window)
        if self._range is not None:
            low, high = (edge[:, None, None] for edge in self._range)
            scale = np.divide(255, high - low, out=np.zeros_like(high), where=high > low)
            values = np.rint((np.nan_to_num(values.astype(np.float64)) - low) * scale).clip(0, 255)
        pixels = np.moveaxis(values.astype(np.uint8), 0, 2)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))

    def _percentiles(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        width, height = self.size
        step = max(1, *(-(-side // _SAMPLED) for side in self.size))
        # Rows of whole blocks, so that each block is decoded once.
        block = self._dataset.block_shapes[0][0]
        rows = -(-_ROWS // block) * block
        samples = []
        for y in range(0, height, rows):
            values = self._read(Window(0, y, width, min(rows, height - y)))
            samples.append(values[:, -y % step :: step, ::step].reshape(len(self._bands), -1))
        low, high = np.array(
            [
                _percentiles(values, self._dataset.nodatavals[band - 1])
                for band, values in zip(self._bands, np.concatenate(samples, axis=1), strict=True)
            ]
        ).T
        return low, high

    def _read(self, window: Window) -> npt.NDArray[Any]:
        from rasterio.windows import Window as Part

        try:
            return np.asarray(self._dataset.read(self._bands, window=Part(*window)))
        except Exception as error:  # various exceptions of GDAL and rasterio for damaged files
            raise BadImageError(f"{self.path}: damaged or truncated ({describe(error)})") from error


def _percentiles(values: npt.NDArray[Any], nodata: float | None) -> tuple[float, float]:
    known = values.astype(np.float64)
    known = known[np.isfinite(known) & (known != nodata)]
    low, high = np.percentile(known, _PERCENTILES).tolist() if len(known) else (0.0, 0.0)
    return low, high


def tiles(size: tuple[int, int], tile: int, overlap: int) -> list[Window]:
    """The windows of an image, square with side ``tile``, row by row; the last in each direction is moved inside.

    >>> [(window.x, window.width) for window in tiles((100, 40), 64, 16)]
    [(0, 64), (36, 64)]
    """
    width, height = (min(side, tile) for side in size)
    columns, rows = (_starts(side, tile, overlap) for side in size)
    return [Window(x, y, width, height) for y in rows for x in columns]


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    last = max(side - tile, 0)
    return [*range(0, last, tile - overlap), last]


def place_of(path: Path) -> Place:
    """The georeference of a GeoTIFF.

    Raises:
        UserError: rasterio is not installed, or the file has no coordinate reference system.
        BadImageError: the file does not exist, or is not a GeoTIFF.
    """
    with _dataset(path) as dataset:
        if dataset.crs is None:
            raise UserError(f"{path}: has no coordinate reference system, expected a GeoTIFF that says where it lies")
        return Place(tuple(dataset.transform)[:6], str(dataset.crs.to_string()))


def outline(corners: Sequence[float], place: Place, crs: Crs) -> list[tuple[float, float]]:
    """The closed ring of a box (x0, y0, x1, y1) in pixels: counterclockwise, in WGS 84 or the CRS of the raster.

    Raises:
        UserError: rasterio is not installed, or a corner has no longitude and latitude.

    >>> outline((0, 0, 2, 1), Place((10, 0, 500, 0, -10, 900), "EPSG:32632"), "source")
    [(500.0, 890.0), (520.0, 890.0), (520.0, 900.0), (500.0, 900.0), (500.0, 890.0)]
    """
    x0, y0, x1, y1 = corners
    a, b, c, d, e, f = place.transform
    ring = [(float(a * x + b * y + c), float(d * x + e * y + f)) for x, y in ((x0, y1), (x1, y1), (x1, y0), (x0, y0))]
    if crs == "wgs84":
        ring = _in_wgs84(ring, place.crs)
    if a * e - b * d > 0:  # rows go north, so the corners above are clockwise
        ring.reverse()
    return [*ring, ring[0]]


def _in_wgs84(points: Sequence[tuple[float, float]], crs: str) -> list[tuple[float, float]]:
    load_rasterio("GeoJSON")
    from rasterio.warp import transform

    try:
        longitudes, latitudes = transform(crs, _WGS84, *map(list, zip(*points, strict=True)))
    except Exception as error:  # various exceptions of GDAL, for local systems and points outside the projection
        problem = f"longitude and latitude are not known ({describe(error)})"
        raise UserError(f"{problem}: expected a box on the earth, or --crs source") from error
    return list(zip(longitudes, latitudes, strict=True))


def load_rasterio(purpose: str) -> Any:
    """The module `rasterio`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import rasterio
    except ImportError as error:
        problem = f"{purpose} needs rasterio, which is not installed"
        raise UserError(f"{problem}: pip install 'wsl-toolkit[geo]'") from error
    return rasterio


@contextlib.contextmanager
def _dataset(path: Path, data: bytes | None = None, most: int | None = None) -> Iterator[Any]:
    """Open only GeoTIFFs, without side files, because other GDAL drivers follow file names inside files."""
    rasterio = load_rasterio(str(path))
    if data is None and not path.is_file():
        raise BadImageError(f"{path}: no such file")
    environment = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_CACHEMAX=_CACHE)
    with environment, contextlib.ExitStack() as stack:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                file = path if data is None else stack.enter_context(rasterio.MemoryFile(data)).name
                dataset = stack.enter_context(rasterio.open(file, driver="GTiff"))
        except Exception as error:  # as in `Raster._read`
            raise BadImageError(f"{path}: not readable as GeoTIFF ({describe(error)})") from error
        try:
            check_size((dataset.width, dataset.height), most)
            for height, width in dataset.block_shapes:  # a block is decoded as a whole
                check_size((width, height), most, source="one of its blocks")
        except BadImageError as error:
            raise BadImageError(f"{path}: {error}") from None
        yield dataset
