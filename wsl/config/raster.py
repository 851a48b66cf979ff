"""Settings of images that are localized in tiles."""

from __future__ import annotations

from dataclasses import dataclass

from wsl.config.checks import check, check_types

_LEAST = 32


@dataclass(frozen=True, kw_only=True)
class RasterConfig:
    """How GeoTIFFs are cut into tiles and shown to the network."""

    tile: int | None = None
    """Localize GeoTIFFs in tiles of so many pixels a side, each at the network's input size (extra geo). Boxes are
    those of the whole raster, and --nms-iou says which of two in neighbouring tiles are one. Bands deeper than 8 bits
    are shown from the 2nd to the 98th percentile of the raster."""
    overlap: int = 64
    """Pixels that neighbouring tiles share: at least as many as an object has, which one tile then holds whole."""
    bands: tuple[int, ...] = ()
    """The bands that are red, green and blue, counted from 1 (4 3 2), or one for grey; the first three when empty, or
    the first one where there are fewer."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.tile is None:
            check(
                not self.bands and self.overlap == RasterConfig.overlap,
                "--bands and --overlap say how rasters are cut into tiles: expected --tile too",
            )
            return
        check(self.tile >= _LEAST, f"tile is {self.tile}, expected {_LEAST} pixels or more")
        check(
            0 <= self.overlap <= self.tile // 2,
            f"overlap is {self.overlap}, expected 0 to half of the tile's {self.tile} pixels",
        )
        check(
            len(self.bands) in (0, 1, 3) and all(band >= 1 for band in self.bands),
            f"bands are {' '.join(map(str, self.bands))}, expected one or three, counted from 1",
        )
