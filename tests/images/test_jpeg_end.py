"""JPEGs with a hole are refused, and pictures that look as if they had one are not."""

import io

import numpy as np
import pytest
from PIL import Image

from wsl.errors import BadImageError
from wsl.images import decode_image


def noisy(side=256):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def jpeg(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def punched(data, start, size):
    return data[:start] + bytes(size) + data[start + size :]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_progressive_file_with_a_hole_is_refused(share):
    whole = jpeg(noisy(), progressive=True)
    assert decode_image(whole).shape == (256, 256, 3)
    with pytest.raises(BadImageError, match="whose missing part would be filled"):
        decode_image(punched(whole, int(len(whole) * share), 512))


@pytest.mark.parametrize("quality", [10, 75, 100])
@pytest.mark.parametrize("optimize", [False, True])
def test_progressive_pictures_of_one_colour_are_whole(quality, optimize):
    """Their means are written as one zero after the other."""
    half = Image.new("RGB", (1500, 1000), "white")
    half.paste(noisy(), (600, 300))
    whole = jpeg(half, progressive=True, quality=quality, optimize=optimize)
    assert quality < 100 or bytes(512) in whole
    assert decode_image(whole).shape == (1000, 1500, 3)


def test_a_progressive_file_that_stops_behind_a_scan_is_a_picture_with_fewer_details():
    whole = jpeg(noisy(), progressive=True)
    last = whole.rindex(b"\xff\xda")
    assert decode_image(whole[:last] + b"\xff\xd9").shape == (256, 256, 3)
