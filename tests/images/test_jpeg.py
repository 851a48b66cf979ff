"""The header of an ordinary JPEG: Pillow's sizes, None where decoders may differ, and never an error."""

import io
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsl.errors import BadImageError
from wsl.images import decode_image
from wsl.images.jpeg import ordinary_jpeg

START, END = b"\xff\xd8", b"\xff\xd9"


def jpeg(width=67, height=45, mode="RGB", **options) -> bytes:
    # Smooth: Pillow cannot write progressive noise that needs more bytes than it expects.
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x, y, x + y], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def without_segment(data: bytes, marker: int) -> bytes:
    """A JPEG without its first segment of that marker."""
    at = data.index(bytes([0xFF, marker]))
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + data[at + 2 + length :]


PLAIN = jpeg()


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    progressive=st.booleans(),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.sampled_from([1, 50, 95]),
)
@settings(max_examples=60)
def test_sizes_are_those_of_pillow(width, height, progressive, subsampling, quality):
    data = jpeg(width, height, progressive=progressive, subsampling=subsampling, quality=quality)
    assert ordinary_jpeg(data) == (width, height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize(
    "options",
    [
        {"optimize": True},
        {"dpi": (300, 300)},
        {"comment": b"\xff\xc0\x00\x11 not a frame"},
        {"icc_profile": b"\xff\xda" * 50},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_stands_beside_the_picture_does_not_matter(options):
    assert ordinary_jpeg(jpeg(**options)) == (67, 45)


def test_fill_bytes_before_a_marker_do_not_matter():
    assert ordinary_jpeg(PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:]) == (67, 45)


def oriented() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


KEPT_RGB = jpeg(keep_rgb=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(mode="L"), id="grey"),
        pytest.param(jpeg(mode="CMYK"), id="CMYK"),
        pytest.param(oriented(), id="EXIF"),
        pytest.param(KEPT_RGB, id="Adobe's marker"),
        pytest.param(without_segment(KEPT_RGB, 0xEE), id="channels named R, G and B"),
        pytest.param(PLAIN[:-2], id="no end"),
        pytest.param(PLAIN[: len(PLAIN) // 2], id="half"),
        pytest.param(PLAIN + b"\0", id="something behind the end"),
        pytest.param(PLAIN[:200] + END, id="the header only"),
        pytest.param(START + END, id="start and end only"),
        pytest.param(without_segment(PLAIN, 0xC0), id="no frame"),
        pytest.param(PLAIN.replace(b"\xff\xc0", b"\xff\xc9", 1), id="arithmetic coding"),
        pytest.param(PLAIN.replace(b"\xff\xc0", b"\xff\xc3", 1), id="lossless"),
        pytest.param(b"\0" + PLAIN, id="something before the start"),
        pytest.param(png(), id="PNG"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_whatever_decoders_may_read_differently_is_refused(data):
    assert ordinary_jpeg(data) is None


def test_a_height_that_only_the_scan_knows_is_refused():
    at = PLAIN.index(b"\xff\xc0")
    assert ordinary_jpeg(PLAIN[: at + 5] + b"\0\0" + PLAIN[at + 7 :]) is None


def test_twelve_bits_are_refused():
    at = PLAIN.index(b"\xff\xc0")
    assert ordinary_jpeg(PLAIN[: at + 4] + b"\x0c" + PLAIN[at + 5 :]) is None


def plausible(header) -> bool:
    return header is None or (1 <= header.width <= 65535 and 1 <= header.height <= 65535)


@given(data=st.binary(max_size=600), framed=st.booleans())
@example(data=b"\xff" * 600, framed=True)
@example(data=b"\xff\x01" * 300, framed=True)
@example(data=b"\xff\xe0\x00\x02" * 150, framed=True)
@example(data=b"\xff\xe0\x00\x00", framed=True)
@settings(max_examples=300)
def test_any_bytes_give_a_header_or_none(data, framed):
    assert plausible(ordinary_jpeg(START + data + END if framed else data))


@given(
    place=st.integers(0, len(PLAIN) - 1),
    value=st.integers(0, 255),
    cut=st.one_of(st.none(), st.integers(0, len(PLAIN))),
)
@settings(max_examples=300)
def test_a_damaged_jpeg_gives_a_header_or_none(place, value, cut):
    damaged = bytearray(PLAIN)
    damaged[place] = value
    assert plausible(ordinary_jpeg(bytes(damaged)))
    if cut is not None:
        assert plausible(ordinary_jpeg(bytes(damaged[:cut]) + END))


def noisy(width, height, **options) -> bytes:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x, y, x + y], axis=2) + np.random.default_rng(0).integers(0, 40, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("rest", ["closed", "hole", "zeros"])
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"restart_marker_rows": 1}], ids=str)
def test_a_jpeg_that_was_cut_and_closed_is_refused(kept, rest, options):
    data = noisy(144, 128, **options)
    cut = int(kept * len(data))
    ends = {"closed": END, "hole": bytes(len(data) - cut - 2) + END, "zeros": bytes(len(data) - cut)}
    assert decode_image(data).shape == (128, 144, 3)
    with pytest.raises(BadImageError, match=r"missing part would be filled|truncated"):
        decode_image(data[:cut] + ends[rest])


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    colour=st.integers(0, 255),
    picture=st.booleans(),
    optimize=st.booleans(),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.sampled_from([1, 50, 95]),
)
@settings(max_examples=60)
def test_pictures_that_end_in_one_colour_are_whole(size, colour, picture, optimize, subsampling, quality):
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    if picture:
        pixels[: size[1] // 2] = np.random.default_rng(colour).integers(0, 256, 3, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", optimize=optimize, subsampling=subsampling, quality=quality)
    for data in (file.getvalue(), file.getvalue() + b"a camera's own data"):
        assert decode_image(data).shape == (size[1], size[0], 3)
