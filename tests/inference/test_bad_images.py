"""What is no image is one clear line, raised, skipped or returned as asked, and the others keep their order."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from wsl import BadImageError, Localization, Predictor, Source, UserError
from wsl.errors import printable
from wsl.images import to_rgb

GREY = np.zeros((4, 5, 3), np.uint8)


def bomb(width: int, height: int) -> bytes:
    """The header of a PNG that promises more pixels than it has bytes for."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (GREY / 255, "type float64, expected .* scale values in .0, 1. by 255"),
        (GREY.astype(np.int64), r"shape \(4, 5, 3\) and type int64, expected \(H, W, 3\) uint8"),
        (GREY.astype(bool), "type bool, expected"),
        (GREY[..., 0], r"shape \(4, 5\) .* repeat a grey image"),
        (GREY[..., :1], r"shape \(4, 5, 1\) .* repeat a grey image"),
        (GREY[..., :2], r"shape \(4, 5, 2\) .*, expected \(H, W, 3\) uint8"),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\) .* drop the alpha channel"),
        (GREY.transpose(2, 0, 1), r"shape \(3, 4, 5\) .* for channels first give a tensor"),
        (GREY[None], r"shape \(1, 4, 5, 3\) .*, expected"),
        (GREY[:0], r"shape \(0, 5, 3\) .*not empty"),
        (GREY[:, :0], r"shape \(4, 0, 3\) .*not empty"),
        (np.empty(0, np.uint8), r"shape \(0,\) .*not empty"),
        (torch.full((3, 4, 5), torch.nan), "values from nan to nan, expected floating values in"),
        (torch.full((3, 4, 5), torch.inf), "values from inf to inf"),
        (torch.full((3, 4, 5), 1.5), "values from 1.5 to 1.5, expected floating values in .* or uint8"),
        (torch.full((3, 4, 5), -0.1), "values from -0.1 to -0.1"),
        (torch.zeros((3, 4, 5), dtype=torch.int64), "a tensor of torch.int64, expected uint8, or floating"),
        (torch.zeros((3, 4, 5), dtype=torch.bool), "a tensor of torch.bool"),
        (torch.zeros((3, 4, 5), dtype=torch.complex64), "a tensor of torch.complex64"),
        (torch.zeros((2, 3, 4, 5)), r"a tensor of shape \(2, 3, 4, 5\), expected \(3, H, W\)"),
        (torch.zeros((1, 4, 5)), r"a tensor of shape \(1, 4, 5\), expected \(3, H, W\)"),
        (torch.zeros((4, 5, 3)), r"a tensor of shape \(4, 5, 3\), expected \(3, H, W\)"),
        (torch.zeros((3, 0, 5)), r"a tensor of shape \(3, 0, 5\), .*not empty"),
        (b"", "empty .0 bytes., expected an image"),
        (b"no image at all", "not a picture in a known format: it starts with 'no image at all'"),
        (io.BytesIO(b""), "empty .0 bytes., expected an image"),
        (io.BytesIO(b"no image at all"), "not a picture in a known format"),
        (io.StringIO("text"), "a file opened as text, expected one opened with mode 'rb'"),
        (Image.new("F", (5, 4)), "32-bit float samples"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels by its header, expected 1"),
        (None, "an object of type NoneType, expected a path, the bytes of an image file"),
        (object(), "an object of type object, expected a path, the bytes of an image file"),
        (7, "an object of type int, expected a path"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{type(value).__name__} {getattr(value, 'shape', '')}",
)
def test_what_is_no_image_is_one_clear_line(predictor, image, message):
    with pytest.raises(BadImageError, match=f"^upload: .*{message}") as raised:
        predictor(Source(image, "upload"))
    assert "\n" not in str(raised.value)


def test_an_image_without_a_name_is_called_by_its_number(predictor):
    with pytest.raises(BadImageError, match=r"^2: a tensor of shape"):
        predictor([GREY, GREY, torch.zeros(3, 3)])


def test_bad_files_are_named_by_their_path(predictor, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.png").write_text("notes")
    for name, message in {
        ".": "is a folder, expected an image file",
        "missing.png": "no such file",
        "empty.png": "the file is empty .0 bytes.",
        "notes.png": "not a picture in a known format",
        "nul\0.png": "no such file|cannot be read",
    }.items():
        with pytest.raises(BadImageError, match=message) as raised:
            predictor(tmp_path / name)
        assert str(raised.value).startswith(printable(str(tmp_path / name)))


def test_closed_files_and_files_opened_as_text_are_refused(predictor, tmp_path, encoded, photos):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photos[0]))
    with path.open("rb") as closed:
        pass
    with pytest.raises(BadImageError, match=r"the open file cannot be read .*closed file"):
        predictor(closed)
    for encoding in ("utf-8", "latin-1"):
        with path.open(encoding=encoding) as text:
            with pytest.raises(BadImageError, match=r"opened as text, expected .*'rb'"):
                predictor(text)
            with pytest.raises(BadImageError, match="opened as text"):
                to_rgb(text)
    image = Image.open(path)
    image.close()
    with pytest.raises(BadImageError, match="the Pillow image cannot be read"):
        predictor(image)


@pytest.mark.parametrize("cut", [0.3, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_files_are_refused(predictor, photos, encoded, kind, cut):
    data = encoded(photos[5], kind)
    cut_off = data[: int(cut * len(data))]
    with pytest.raises(BadImageError, match="truncated"):
        predictor(cut_off)
    with pytest.raises(BadImageError, match="truncated"):
        predictor(Image.open(io.BytesIO(cut_off)))


def test_a_decompression_bomb_is_refused_by_its_header(tinynet, tmp_path):
    predictor = Predictor(tinynet, device="cpu", max_pixels=10_000)
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(101, 100))
    for image in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), Image.new("1", (101, 100))):
        with pytest.raises(BadImageError, match=r"101 x 100 pixels.*expected .*10,000"):
            predictor(image)
    assert predictor(Image.new("1", (100, 100))).size == (100, 100)


def test_pillows_own_limit_is_not_touched_and_not_in_the_way(predictor, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "PNG")
    assert predictor(file.getvalue()).size == (40, 40)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("bad", [[0], [5], [2, 3], [0, 1, 2, 3, 4, 5]], ids=["first", "last", "middle", "all"])
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_skipped_or_returned_in_order(predictor, photos, bad, workers, caplog):
    images = [b"broken" if number in bad else photo for number, photo in enumerate(photos)]
    good = [str(number) for number in range(6) if number not in bad]

    stream = predictor.stream(images, workers=workers)
    assert [found.id for found in stream] == good
    assert stream.skipped == len(bad)
    assert [record.message.split(":")[:2] for record in caplog.records] == [["skipped", f" {n}"] for n in bad]

    returned = list(predictor.stream(images, errors="return", workers=workers))
    assert [isinstance(one, BadImageError) for one in returned] == [number in bad for number in range(6)]
    assert [one.id for one in returned if isinstance(one, Localization)] == good

    stream = predictor.stream(images, errors="raise", workers=workers)
    assert [next(stream).id for _ in range(bad[0])] == [str(number) for number in range(bad[0])]
    with pytest.raises(BadImageError, match=f"^{bad[0]}: not a picture"):
        next(stream)
    assert list(stream) == []


def test_a_list_raises_skips_or_returns_bad_images(predictor, photos):
    images = [photos[0], b"broken", photos[1]]
    with pytest.raises(BadImageError, match=r"^1: not a picture"):
        predictor(images)
    assert [found.id for found in predictor(images, errors="skip")] == ["0", "2"]
    kinds = [type(one) for one in predictor(images, errors="return")]
    assert kinds == [Localization, BadImageError, Localization]
    assert predictor([b"broken"], errors="skip") == []
    assert predictor([]) == []


def test_an_unknown_way_to_treat_errors_is_refused(predictor, photos):
    for call in (predictor.stream, predictor):
        with pytest.raises(UserError, match="errors is 'ignore', expected raise, skip or return"):
            call(photos[:1], errors="ignore")


def test_class_maps_give_the_error_of_a_bad_image_in_its_place(predictor, photos):
    maps = list(predictor.class_maps([photos[0], b"broken", photos[1]]))
    assert [isinstance(one, BadImageError) for one in maps] == [False, True, False]
    assert maps[0].shape == maps[2].shape == (4, 8, 8)
    assert [isinstance(one, BadImageError) for one in predictor.class_maps([b"broken"])] == [True]


def test_any_iterable_may_fail_and_its_error_reaches_the_caller(predictor, photos, no_thread_stays):
    def failing():
        yield photos[0]
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        list(predictor.stream(failing()))
