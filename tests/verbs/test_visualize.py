"""From a results file on the disk to pictures, as a user would run it."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsl.boxes import Boxes
from wsl.config import DataConfig, VisualizeConfig
from wsl.draw import class_color
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, MapStore
from wsl.results import Localization
from wsl.verbs.visualize import visualize

GREY = (120, 120, 120)


def photo(path: Path, size: tuple[int, int] = (600, 450), color: tuple[int, int, int] = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def found(path: Path, size: tuple[int, int] = (600, 450), maps: bool = True, **scores: float) -> Localization:
    """The hot corner of every class is the top left one, its box as well."""
    width, height = size
    corner = [[width * 0.1, height * 0.2, width * 0.4, height * 0.5]] * len(scores)
    hot = np.zeros((6, 6), np.float32)
    hot[1:3, 1:3] = 1
    return Localization(
        path=path,
        size=size,
        scores=scores,
        boxes=Boxes(xyxy=np.reshape(corner, (-1, 4)), labels=tuple(scores), scores=list(scores.values())),
        maps=dict.fromkeys(scores, hot) if maps else None,
    )


def write(folder: Path, *localizations: Localization) -> Path:
    store = MapStore(folder)
    with LocalizationWriter(folder) as writer:
        for localization in localizations:
            writer.write(store.write(localization))
    return folder


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def count(image: np.ndarray, color: tuple[int, int, int], tolerance: int = 0) -> int:
    return int((np.abs(image.astype(int) - color) <= tolerance).all(axis=-1).sum())


def test_everything_there_is_to_draw(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "photos" / f"{name}.png") for name in "abc"]
    results = write(
        tmp_path / "run",
        found(photos[0], dog=0.9, cat=0.3),
        found(photos[1], cat=0.8),
        found(photos[2], cat=0.5),
    )
    out = tmp_path / "pictures"
    summary = visualize(VisualizeConfig(predictions=results, out=out, per_class=True, columns=2, rows=1))
    assert names(out) == ["classes", "images", "sheet-001.png", "sheet-002.png"]
    assert names(out / "images") == ["a.png", "b.png", "c.png"]
    assert names(out / "classes") == ["cat-001.png", "cat-002.png", "dog-001.png"]
    assert (summary.pictures, summary.sheets, summary.skipped) == (3, 5, 0)
    assert len(summary.paths) == 6
    assert all(path.exists() for path in summary.paths)


def test_the_picture_shows_heat_and_box_where_they_were_found(tmp_path: Path) -> None:
    results = write(tmp_path, found(photo(tmp_path / "a.png"), dog=0.9))
    visualize(VisualizeConfig(predictions=results, out=tmp_path / "out", sheet=False))
    picture = read(tmp_path / "out" / "images" / "a.png")
    assert picture.shape == (450, 600, 3)
    heat = picture[150, 150].astype(int)
    assert heat[0] > heat[2] + 40, "the hot corner is red"
    assert np.abs(picture[400, 550].astype(int) - GREY).max() <= 2, "the cold one shows the photograph"
    assert tuple(picture[150, 60]) == class_color("dog"), "the box's left edge"


def test_without_maps_there_are_still_boxes(tmp_path: Path) -> None:
    results = write(tmp_path, found(photo(tmp_path / "a.png"), maps=False, dog=0.9))
    visualize(VisualizeConfig(predictions=results / "localizations.jsonl", out=tmp_path / "out", sheet=False))
    picture = read(tmp_path / "out" / "images" / "a.png")
    assert tuple(picture[150, 60]) == class_color("dog")
    assert tuple(picture[150, 150]) == GREY


def test_class_sheets_begin_with_the_highest_score(tmp_path: Path) -> None:
    colors = {"a": (200, 40, 40), "b": (40, 200, 40), "c": (40, 40, 200)}
    photos = {name: photo(tmp_path / f"{name}.png", color=color) for name, color in colors.items()}
    results = write(
        tmp_path,
        *(found(photos[name], maps=False, dog=score) for name, score in (("a", 0.2), ("b", 0.9), ("c", 0.5))),
    )
    visualize(
        VisualizeConfig(
            predictions=results, out=tmp_path / "out", per_class=True, images=False, sheet=False, columns=1, rows=1
        )
    )
    pages = [read(path) for path in sorted((tmp_path / "out" / "classes").iterdir())]
    assert [count(pages[i], colors[name]) > 10_000 for i, name in enumerate("bca")] == [True] * 3


def coco(path: Path, file_name: str, size: tuple[int, int], xywh: list[float]) -> Path:
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": file_name, "width": size[0], "height": size[1]}],
                "categories": [{"id": 1, "name": "dog"}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0}
                ],
            }
        ),
        encoding="utf-8",
    )
    return path


def test_true_boxes_are_dashed_beside_the_predicted(tmp_path: Path) -> None:
    results = write(tmp_path, found(photo(tmp_path / "a.png"), maps=False, dog=0.9))
    annotations = coco(tmp_path / "instances_val.json", "a.png", (600, 450), [300, 225, 240, 180])
    visualize(
        VisualizeConfig(predictions=results, out=tmp_path / "out", data=DataConfig(data=annotations), sheet=False)
    )
    picture = read(tmp_path / "out" / "images" / "a.png")
    edge = picture[225:405, 300]
    assert count(edge[:, None], (255, 255, 255)) > 50
    assert count(edge[:, None], (0, 0, 0)) > 50
    assert tuple(picture[150, 60]) == class_color("dog")


def test_an_unreadable_image_is_reported_counted_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    results = write(
        tmp_path,
        found(tmp_path / "broken.jpg", dog=0.9),
        found(tmp_path / "missing.jpg", dog=0.8),
        found(photo(tmp_path / "a.png"), dog=0.7),
    )
    with caplog.at_level(logging.WARNING, "wsl"):
        summary = visualize(VisualizeConfig(predictions=results, out=tmp_path / "out"))
    assert (summary.pictures, summary.skipped) == (1, 2)
    assert "broken.jpg" in caplog.text
    assert "missing.jpg" in caplog.text


def test_nothing_but_unreadable_images_is_the_users_mistake(tmp_path: Path) -> None:
    results = write(tmp_path, found(tmp_path / "gone.jpg", dog=0.9))
    with pytest.raises(UserError, match=r"none of 1 images can be read, first .*gone\.jpg"):
        visualize(VisualizeConfig(predictions=results, out=tmp_path / "out"))


def test_names_stay_in_their_folder_and_apart(tmp_path: Path) -> None:
    photos = [photo(tmp_path / folder / "0.png") for folder in ("x", "y")] + [photo(tmp_path / "0~2.png")]
    classes = ["../../etc", "a/b", "a:b", "Cat", "cat", "NUL"]
    results = write(tmp_path / "run", *(found(path, **dict.fromkeys(classes, 0.5)) for path in photos))
    out = tmp_path / "out"
    visualize(VisualizeConfig(predictions=results, out=out, per_class=True))
    assert len(names(out / "images")) == 3
    sheets = names(out / "classes")
    assert len({name.casefold() for name in sheets}) == len(classes)
    assert names(tmp_path) == ["0~2.png", "out", "run", "x", "y"]


def test_small_and_large_photographs_become_pictures_for_a_screen(tmp_path: Path) -> None:
    small, large = photo(tmp_path / "small.png", (32, 16)), photo(tmp_path / "large.png", (3200, 2400))
    results = write(tmp_path, found(small, (32, 16), dog=0.9), found(large, (3200, 2400), dog=0.9))
    visualize(VisualizeConfig(predictions=results, out=tmp_path / "out", sheet=False))
    pictures = [read(tmp_path / "out" / "images" / f"{name}.png") for name in ("small", "large")]
    assert [picture.shape for picture in pictures] == [(240, 480, 3), (1200, 1600, 3)]
    for picture in pictures:
        height, width = picture.shape[:2]
        assert tuple(picture[round(0.33 * height), round(0.1 * width)]) == class_color("dog")


def test_the_limit_takes_the_first_images_and_a_pdf_is_one_file(tmp_path: Path) -> None:
    results = write(tmp_path, *(found(photo(tmp_path / f"{i}.png"), dog=0.5) for i in range(4)))
    config = VisualizeConfig(
        predictions=results, out=tmp_path / "out", images=False, limit=2, file_format="pdf", columns=1, rows=1
    )
    summary = visualize(config)
    assert (summary.pictures, summary.sheets) == (2, 1)
    assert names(tmp_path / "out") == ["sheet.pdf"]
    assert b"/Count 2" in (tmp_path / "out" / "sheet.pdf").read_bytes()


def test_an_image_in_which_nothing_was_found_is_shown_as_it_is(tmp_path: Path) -> None:
    results = write(tmp_path, found(photo(tmp_path / "a.png")))
    summary = visualize(VisualizeConfig(predictions=results, out=tmp_path / "out", per_class=True))
    assert (summary.pictures, summary.sheets) == (1, 1)
    assert np.array_equal(read(tmp_path / "out" / "images" / "a.png"), read(tmp_path / "a.png"))


def test_what_cannot_be_visualized_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no localizations at"):
        visualize(VisualizeConfig(predictions=tmp_path / "nowhere", out=tmp_path / "out"))
    with pytest.raises(UserError, match="nothing to draw"):
        visualize(VisualizeConfig(predictions=tmp_path, out=tmp_path / "out", images=False, sheet=False))
    assert not (tmp_path / "out").exists()


@pytest.mark.realdata
def test_voc_photographs_with_their_own_boxes(realdata: Path, tmp_path: Path) -> None:
    photos = [
        realdata / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{name}.jpg" for name in ("2007_000033", "2007_001321")
    ]
    sizes = []
    for path in photos:
        with Image.open(path) as image:
            sizes.append(image.size)
    results = write(tmp_path, *(found(path, size, dog=0.5) for path, size in zip(photos, sizes, strict=True)))
    summary = visualize(
        VisualizeConfig(predictions=results, out=tmp_path / "out", data=DataConfig(data=realdata / "VOCdevkit"))
    )
    assert (summary.pictures, summary.skipped) == (2, 0)
    without = visualize(VisualizeConfig(predictions=results, out=tmp_path / "plain"))
    assert without.pictures == 2
    pictures = [read(tmp_path / folder / "images" / "2007_000033.png") for folder in ("out", "plain")]
    assert count(pictures[0], (255, 255, 255)) > count(pictures[1], (255, 255, 255)) + 100
