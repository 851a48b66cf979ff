"""read_image against Pillow for every mode and orientation, and one clear line for every kind of bad file."""

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from wsl.errors import BadImageError
from wsl.images import image_size, read_image, to_rgb
from wsl.images.colours import to_rgb8
from wsl.images.decode import read_numbers


def photograph(width: int = 67, height: int = 45) -> Image.Image:
    """Smooth in both directions and different in every corner, so that JPEG keeps it and turns show."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def jpeg_bytes(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def png_bytes(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_as_pillow_does(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "turned"
    photograph().save(file, kind, exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.int16)
    found = read_image(file)
    assert found.shape == expected.shape == ((45, 67, 3) if orientation <= 4 else (67, 45, 3))
    assert np.abs(found - expected).max() <= 2
    assert found.flags.c_contiguous


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_ordinary_jpegs_equal_pillow_to_rounding(tmp_path, mode, options):
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg_bytes(photograph().convert(mode), **options))
    with Image.open(file) as image:
        expected = np.asarray(image.convert("RGB"), np.int16)
    assert np.abs(read_image(file) - expected).max() <= 2


def test_cmyk_jpegs_keep_their_colours(tmp_path):
    """Pillow writes CMYK as Adobe does (inverted); decoded without that, white would be black."""
    file = tmp_path / "print.jpg"
    file.write_bytes(jpeg_bytes(photograph().convert("CMYK")))
    assert np.abs(read_image(file).astype(int) - np.asarray(photograph())).mean() < 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    values = np.linspace(0, 65535, 60, dtype=np.uint16).reshape(6, 10)
    file = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(file)
    assert np.array_equal(read_image(file)[:, :, 0], np.rint(values / 257).astype(np.uint8))


def test_16_bit_pgm_and_ppm_are_scaled(tmp_path):
    grey, colour = tmp_path / "a.pgm", tmp_path / "a.ppm"
    grey.write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 65535))
    colour.write_bytes(b"P6 1 1 65535\n" + struct.pack(">3H", 0, 32768, 65535))
    assert read_image(grey)[0, :, 0].tolist() == [0, 255]
    assert read_image(colour)[0, 0].tolist() == [0, 128, 255]


def test_16_bit_colour_is_scaled(tmp_path):
    rows = b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 257, 0)
    file = tmp_path / "deep.png"
    file.write_bytes(png_bytes(2, 1, 16, 2, rows))
    assert np.abs(read_image(file)[0].astype(int) - [[0, 128, 255], [255, 1, 0]]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 51), (204, 204, 204)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb_with_transparency_over_white(tmp_path, mode, colour, expected):
    file = tmp_path / "a.png"
    Image.new(mode, (4, 3), colour).save(file)
    found = read_image(file)
    assert found.shape == (3, 4, 3)
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [list(expected)]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_palette_entry_is_white(tmp_path, suffix):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    file = tmp_path / f"a.{suffix}"
    image.save(file, transparency=0)
    assert read_image(file)[0].tolist() == [[255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "tif", "png", "ppm", "jp2"])
def test_other_formats_equal_pillow(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    photograph().save(file)
    with Image.open(file) as image:
        assert np.array_equal(read_image(file), np.asarray(image.convert("RGB")))


def test_the_content_decides_and_not_the_suffix(tmp_path):
    file = tmp_path / "really_a_png.jpg"
    photograph().save(file, "PNG")
    assert np.array_equal(read_image(file), np.asarray(photograph()))


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (20000, 50)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_unusual_sizes(tmp_path, size, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", size, (0, 128, 255)).save(file)
    assert read_image(str(file)).shape == (size[1], size[0], 3)


def test_what_a_camera_appends_after_the_picture_does_no_harm(tmp_path):
    whole = jpeg_bytes(photograph())
    file = tmp_path / "phone.jpg"
    file.write_bytes(whole + b"SEFT trailer")
    (tmp_path / "plain.jpg").write_bytes(whole)
    assert np.abs(read_image(file).astype(int) - read_image(tmp_path / "plain.jpg")).max() <= 2


def test_damaged_metadata_leaves_a_good_picture_good(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg_bytes(photograph(), exif=b"Exif\0\0not a tiff header"))
    assert read_image(file).shape == (45, 67, 3)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused(tmp_path, kept, progressive):
    whole = jpeg_bytes(photograph(300, 200), progressive=progressive)
    file = tmp_path / "cut.jpg"
    file.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(BadImageError, match=r"cut\.jpg: damaged or truncated image .* fetch it again"):
        read_image(file)


def test_a_truncated_jpeg_is_refused_whatever_opencv_makes_of_it(tmp_path, monkeypatch):
    """OpenCV 4 fills the missing part with grey."""
    file = tmp_path / "cut.jpg"
    file.write_bytes(jpeg_bytes(photograph(300, 200))[:-400])
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: np.full((200, 300, 3), 128, np.uint8))
    with pytest.raises(BadImageError, match="truncated"):
        read_image(file)


def test_a_truncated_jpeg_is_refused_although_its_thumbnail_is_whole(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + jpeg_bytes(photograph(20, 20))
    whole = jpeg_bytes(photograph(300, 200), exif=exif)
    for filler in (b"", b"\0" * 5000):  # a download that was allocated in full before it broke off
        (tmp_path / "cut.jpg").write_bytes(whole[:-1500] + filler)
        with pytest.raises(BadImageError, match="truncated"):
            read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "gif"])
def test_other_truncated_files_are_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    file = tmp_path / f"cut.{suffix}"
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BadImageError, match="truncated"):
        read_image(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jpg: the file is empty \(0 bytes\)"),
        (b"hello, I am text", r"a\.jpg: not a picture .* starts with 'hello, I am text', expected JPEG, PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"not a picture in a known format: it starts with .<svg "),
        (b"%!PS-Adobe-3.0 EPSF", r"not a picture in a known format"),
        (b"\xff\xd8\xff", r"a\.jpg: damaged or truncated image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", r"a\.jpg: damaged or truncated image"),
    ],
)
def test_what_is_not_an_image_says_so_in_one_line(tmp_path, content, message):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    with pytest.raises(BadImageError, match=message) as caught:
        read_image(file)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(BadImageError, match=r"lost\.jpg: no such file"):
        read_image(tmp_path / "lost.jpg")
    with pytest.raises(BadImageError, match="is a folder, expected an image file"):
        read_image(tmp_path)


def test_no_permission(tmp_path, monkeypatch):
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    file = tmp_path / "secret.jpg"
    file.write_bytes(jpeg_bytes(photograph()))
    monkeypatch.setattr(os, "open", refuse)  # a mode of 0 does not keep root out
    with pytest.raises(BadImageError, match=r"secret\.jpg: cannot be read \(Permission denied\)"):
        read_image(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.jpg")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    file = tmp_path / "bomb.png"
    file.write_bytes(png_bytes(60_000, 60_000, 1, 0, b"\0"))
    with pytest.raises(BadImageError, match=r"60000 x 60000 pixels by its header, expected at most 200,000,000"):
        read_image(file)
    small = tmp_path / "small.jpg"
    small.write_bytes(jpeg_bytes(photograph(10, 10)))
    assert read_image(small, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(BadImageError, match="10 x 10 pixels"):
        read_image(small, max_pixels=99)


@pytest.mark.parametrize("size", [(1, 199_999_999), (199_999_999, 1), (14_142, 20_001), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("read", [read_image, image_size, read_numbers])
def test_what_is_too_large_is_never_decoded(tmp_path, monkeypatch, size, read):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    file = tmp_path / "a.png"
    file.write_bytes(png_bytes(*size, 8, 0, b"\0"))
    with pytest.raises(BadImageError, match=f"{size[0]} x {size[1]} pixels by its header"):
        read(file)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF"])
def test_a_size_is_read_without_decoding(tmp_path, monkeypatch, kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this version of Pillow writes no {kind}")
    file = tmp_path / "a"
    photograph().save(file, kind)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    assert image_size(file) == (67, 45)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("place", ["before", "after", "text after"])
def test_a_png_may_say_its_orientation_after_its_pixels(tmp_path, orientation, place):
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes()[6:]
    kind = b"eXIf"
    if place == "text after":
        kind, body = b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation="%d"' % orientation
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"\0\1\2\3" * 2
    data = png_bytes(3, 2, 8, 0, rows, chunk if place == "before" else b"")
    if place != "before":
        data = data[:-12] + chunk + data[-12:]
    file = tmp_path / "a.png"
    file.write_bytes(data)
    expected = (2, 3) if orientation == 6 else (3, 2)
    assert image_size(file) == expected
    assert read_image(file).shape[:2] == expected[::-1]
    with Image.open(file) as image:
        assert to_rgb(image).shape[:2] == expected[::-1]


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.tif", "photo.eps"])
@pytest.mark.parametrize("read", [read_image, image_size, read_numbers])
def test_no_file_starts_another_program(tmp_path, monkeypatch, name, read):
    """Pillow draws EPS by starting Ghostscript, whatever the file is called."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    Image.init()
    monkeypatch.setitem(Image.OPEN, "EPS", (lambda *_: pytest.fail("EPS was opened"), None))
    file = tmp_path / name
    file.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n"
        b"(marker) (w) file closefile showpage\n%%EOF\n"
    )
    with pytest.raises(BadImageError, match="not a picture in a known format: it starts with '%!PS-Adobe"):
        read(file)


def test_numbers_are_as_they_are_stored(tmp_path):
    file = tmp_path / "a.png"
    palette = Image.fromarray(np.uint8([[0, 200, 255]]))
    palette.putpalette([7] * 768)
    for picture, expected in (
        (palette, [[0, 200, 255]]),
        (Image.fromarray(np.uint8([[3, 4, 5]])), [[3, 4, 5]]),
        (Image.fromarray(np.bool_([[True, False, True]])), [[1, 0, 1]]),
    ):
        picture.save(file)
        assert read_numbers(file, (3, 1)).tolist() == expected
        with pytest.raises(BadImageError, match=r"a\.png: 3x1 pixels, expected the image's 1x3"):
            read_numbers(file, (1, 3))
    for mode in ("RGB", "RGBA", "LA", "I;16"):
        Image.new(mode, (3, 1)).save(file)
        with pytest.raises(BadImageError, match=f"colour mode {mode}, expected numbers in one 8-bit channel"):
            read_numbers(file)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "transparent RGB"])
def test_a_large_picture_is_converted_in_strips(mode, monkeypatch):
    if mode == "I;16":
        picture = Image.fromarray(np.arange(45 * 67, dtype=np.uint16).reshape(45, 67) * 21)
    else:
        picture = photograph()
        if mode in ("LA", "RGBA", "PA"):
            picture.putalpha(picture.getchannel(1))
        picture = picture if mode.endswith("RGB") else picture.convert(mode)
        if mode == "P":
            picture.info["transparency"] = bytes(range(256))
        if mode == "transparent RGB":
            picture.info["transparency"] = picture.getpixel((20, 20))
    whole = to_rgb8(picture)
    for strip in (1, 67 * 10, 67 * 44, 67 * 45):
        monkeypatch.setattr("wsl.images.colours._STRIP", strip)
        assert np.array_equal(to_rgb8(picture), whole)


def test_our_limit_holds_and_not_pillows(tmp_path, monkeypatch):
    """Pillow warns from a limit of its own on, and warnings are errors here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = tmp_path / "a.png"
    photograph().save(file)
    assert read_image(file).shape == (45, 67, 3)


@pytest.mark.parametrize("kind", ["F", "I"])
def test_samples_without_a_white_are_refused(tmp_path, kind):
    file = tmp_path / "depth.tif"
    Image.new(kind, (3, 3)).save(file)
    with pytest.raises(BadImageError, match=r"32-bit (float|integer) samples have no range that is white"):
        read_image(file)


@settings(max_examples=60)
@given(st.data())
def test_damage_anywhere_is_an_image_or_one_line(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]))
    buffer = io.BytesIO()
    photograph(24, 16).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damage") / "a"
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        image = read_image(file, max_pixels=1_000_000)
    except BadImageError as error:
        message = str(error)
    else:
        message = ""
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
    assert "\n" not in message


@pytest.mark.realdata
def test_real_photographs_equal_pillow(realdata: Path):
    files = sorted((realdata / "coco2017_subset" / "images" / "val2017").glob("*.jpg"))[:40]
    assert files
    for file in files:
        with Image.open(file) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.int16)
        assert np.abs(read_image(file) - expected).max() <= 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_the_size_by_the_header_is_that_of_the_upright_picture(suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a{suffix}"
    try:
        Image.new("RGB", (32, 16)).save(file, exif=exif)
    except (KeyError, OSError):
        pytest.skip(f"Pillow was built without {suffix}")
    height, width = read_image(file).shape[:2]
    assert image_size(file) == (width, height) == ((16, 32) if orientation in (6, 8) else (32, 16))
