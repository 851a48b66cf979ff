"""Contact sheets: every picture in its cell, pages in order, one page held at a time, whole files only."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsl.draw import contact_sheet, fit_into, save_image, save_sheets
from wsl.errors import UserError

COLORS = [(200, 30, 30), (30, 160, 30), (30, 30, 200), (180, 140, 20), (20, 150, 170)]


def plain(color: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


def extent(page: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    y, x = np.nonzero((page == color).all(axis=-1))
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_pictures_stand_in_rows_in_their_order() -> None:
    page = contact_sheet([plain(color) for color in COLORS], columns=2, cell=(128, 96))
    places = [extent(page, color) for color in COLORS]
    assert len({place[0] for place in places}) == 2
    assert sorted(places, key=lambda place: (place[1], place[0])) == places
    assert all((x1 - x0, y1 - y0) == (128, 96) for x0, y0, x1, y1 in places)


@pytest.mark.parametrize("size", [(10, 10), (500, 20), (20, 500), (1, 1)])
def test_a_picture_keeps_its_aspect_inside_its_cell(size: tuple[int, int]) -> None:
    height, width = fit_into(plain(COLORS[0], size), (120, 90)).shape[:2]
    assert width == 120 or height == 90
    assert width <= 120
    assert height <= 90
    assert abs(width - size[0] / size[1] * height) <= max(1, size[0] / size[1])


def test_titles_and_heading_are_written_outside_of_the_cells() -> None:
    pictures = [plain(color) for color in COLORS[:2]]
    bare = contact_sheet(pictures, columns=2)
    titled = contact_sheet(pictures, columns=2, titles=["one", "a title " * 20], heading="Cats " * 60)
    assert titled.shape[1] == bare.shape[1]
    assert titled.shape[0] > bare.shape[0]
    assert extent(titled, COLORS[0])[1] > extent(bare, COLORS[0])[1]


def test_png_pages_hold_all_pictures_in_order(tmp_path: Path) -> None:
    pictures = [(f"picture {i}", plain(COLORS[i % 5])) for i in range(5)]
    paths = save_sheets(pictures, tmp_path / "new" / "v1.2", columns=2, rows=1, title="Sheet", cell=(80, 60))
    assert [path.name for path in paths] == ["v1.2-001.png", "v1.2-002.png", "v1.2-003.png"]
    pages = [read(path) for path in paths]
    for i, color in enumerate(COLORS):
        assert extent(pages[i // 2], color)[2] > 0
    assert sorted(path.name for path in paths[0].parent.iterdir()) == [path.name for path in paths]


def test_a_pdf_holds_all_pages_in_one_file(tmp_path: Path) -> None:
    pictures = ((str(i), plain(COLORS[i % 5])) for i in range(7))
    (path,) = save_sheets(pictures, tmp_path / "sheet", columns=1, rows=2, file_format="pdf", cell=(80, 60))
    content = path.read_bytes()
    assert path.name == "sheet.pdf"
    assert content.startswith(b"%PDF-")
    assert content.count(b"/DCTDecode") == 4
    assert b"/Count 4" in content
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.pdf"]


@pytest.mark.parametrize("file_format", ["png", "pdf"])
def test_no_picture_gives_no_file(tmp_path: Path, file_format: str) -> None:
    assert save_sheets([], tmp_path / "sheet", file_format=file_format) == []
    assert not list(tmp_path.iterdir())


def test_pictures_are_pulled_a_page_at_a_time(tmp_path: Path) -> None:
    files_when_pulled = []

    def stream() -> Iterator[tuple[str, np.ndarray]]:
        for _ in range(6):
            files_when_pulled.append(len(list(tmp_path.glob("*.png"))))
            yield "", plain(COLORS[0])

    save_sheets(stream(), tmp_path / "sheet", columns=2, rows=1, cell=(20, 20))
    assert files_when_pulled == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("file_format", ["png", "pdf"])
def test_a_stream_that_breaks_leaves_no_half_file(tmp_path: Path, file_format: str) -> None:
    def stream() -> Iterator[tuple[str, np.ndarray]]:
        yield "", plain(COLORS[0])
        yield "", plain(COLORS[1])
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        save_sheets(stream(), tmp_path / "sheet", columns=1, rows=1, file_format=file_format, cell=(20, 20))
    assert {path.name for path in tmp_path.iterdir()} <= {"sheet-001.png", "sheet-002.png"}


def test_a_saved_picture_is_the_picture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_image(tmp_path / "folder" / "Füchse.png", picture)
    assert np.array_equal(read(tmp_path / "folder" / "Füchse.png"), picture)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pictures": []}, "no pictures"),
        ({"titles": ["a", "b"]}, "2 titles for 1"),
        ({"columns": 0}, "0 columns"),
        ({"pictures": [np.zeros((4, 4))]}, "expected RGB"),
    ],
)
def test_a_sheet_that_cannot_be_is_refused(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        contact_sheet(**({"pictures": [plain(COLORS[0])]} | arguments))


def test_unknown_formats_and_empty_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected png or pdf"):
        save_sheets([], tmp_path / "sheet", file_format="jpg")
    with pytest.raises(UserError, match="0 rows"):
        save_sheets([], tmp_path / "sheet", rows=0)
