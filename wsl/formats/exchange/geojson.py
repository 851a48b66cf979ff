"""GeoJSON: boxes in GeoTIFFs as polygons in geographic coordinates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsl.documents import located
from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import rows_of
from wsl.images.raster import Crs, outline, place_of

NAME = "boxes.geojson"


def write_geojson(
    images: Iterable[Labelled], out: Path, classes: Sequence[str], *, root: Path, crs: Crs = "wgs84"
) -> Path:
    """Write ``boxes.geojson``: one polygon per box, with its image, label and score, for GeoTIFFs below ``root``.

    Coordinates are longitude and latitude (WGS 84), the only ones that GeoJSON allows since RFC 7946. With ``crs``
    "source" they are those of the rasters, and the member ``crs`` of the format's earlier version, which QGIS and GDAL
    read, names their coordinate reference system.

    Raises:
        UserError: rasterio is not installed, a raster is not georeferenced, a class is not listed, a box has no
            longitude and latitude, or with "source", the rasters have different coordinate reference systems.
        BadImageError: a raster cannot be read.
    """
    index = class_index(classes)
    path = out / NAME
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        named, first = "", True
        for image in images:
            place = place_of(root / image.name)
            if named and crs == "source" and place.crs != named:
                raise UserError(
                    f"{root / image.name}: its coordinates are {place.crs}, and those of earlier images {named}; "
                    "expected rasters of one system, or --crs wgs84"
                )
            if not named:
                named = place.crs
                file.write('{"type": "FeatureCollection",\n')
                if crs == "source":
                    file.write(f'"crs": {json.dumps(_member(named), ensure_ascii=False)},\n')
                file.write('"features": [')
            for label, score, xyxy in rows_of(image.boxes):
                number_of(label, index, image.name)
                with located(root / image.name):
                    ring = outline(xyxy, place, crs)
                feature = {
                    "type": "Feature",
                    "properties": {"image": image.name, "label": label, "score": score},
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
                file.write(("\n" if first else ",\n") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
                first = False
        file.write("\n]}\n" if named else '{"type": "FeatureCollection", "features": []}\n')
    return path


def _member(name: str) -> dict[str, Any]:
    authority, _, code = name.partition(":")
    urn = f"urn:ogc:def:crs:{authority}::{code}" if code.isdecimal() else name
    return {"type": "name", "properties": {"name": urn}}
