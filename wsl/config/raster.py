"""Settings for localizing images in tiles."""

from __future__ import annotations

from dataclasses import dataclass

from wsl.config.checks import check, check_types

_LEAST = 32


@dataclass(frozen=True, kw_only=True)
class RasterConfig:
    """How large images are cut into tiles, and how GeoTIFFs are scaled to 8 bits."""

    tile: int | None = None
    """Localize each image in square tiles of this side in pixels, each resized to the network's input. Boxes are in
    pixels of the whole image; those of overlapping tiles are merged by non-maximum suppression (--nms-iou). With --maps
    or --heatmaps, the maps of all tiles become one per class, with weighted means in the overlaps. GeoTIFFs (extra geo)
    are read tile by tile, and their bands deeper than 8 bits are scaled from the 2nd to the 98th percentile of the
    raster. Not with --decoders, which send images in the size of the network's input."""
    overlap: int = 64
    """Pixels that neighbouring tiles share; any object up to this size lies wholly within some tile."""
    bands: tuple[int, ...] = ()
    """The bands of GeoTIFFs for red, green and blue, counted from 1 (4 3 2), or one for grey; when empty, the first
    three, or the first one if there are fewer."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.tile is None:
            check(
                not self.bands and self.overlap == RasterConfig.overlap,
                "--bands and --overlap say how images are cut into tiles: expected --tile too",
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
