"""The benchmark's metadata lists: what they say, and what they must not say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.config import DataConfig
from wsl.data import detect_format, read_samples, read_wsol
from wsl.errors import UserError
from wsl.images import read_image

LISTS = {
    "image_ids.txt": "a/0.jpg\nb, c.png\n",
    "class_labels.txt": "a/0.jpg,3\nb, c.png,11\n",
    "image_sizes.txt": "a/0.jpg,40,30\nb, c.png,20,10\n",
    "localization.txt": "a/0.jpg,1,2,11,12\na/0.jpg,5,5,40.5,30\nb, c.png,0,0,20,10\n",
}


def lists(folder, **changes):
    """The lists above, some of them changed: ``image_ids="…"``; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in LISTS.items():
        text = changes.get(name.removesuffix(".txt"), text)
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_what_the_lists_say(tmp_path):
    lists(tmp_path / "CUB" / "test")
    lists(tmp_path / "CUB" / "train", class_labels="a/0.jpg,0\nb, c.png,3\n", localization=None, image_sizes=None)
    samples = read_wsol(tmp_path / "CUB", "test", images=False)
    first, second = samples.samples
    assert samples.classes == ("0", "3", "11")
    assert (first.id, first.labels, first.size) == ("a/0.jpg", ("3",), (40, 30))
    assert (second.id, second.labels, second.size) == ("b, c.png", ("11",), (20, 10))
    np.testing.assert_array_equal(first.boxes.xyxy, [[1, 2, 12, 13], [5, 5, 41.5, 31]])
    assert first.boxes.labels == ("3", "3")
    train = read_wsol(tmp_path / "CUB", "train", images=False)
    assert train.classes == samples.classes
    assert train.samples[0].boxes is None


def test_masks_and_the_pixels_to_ignore(tmp_path):
    text = "a/0.jpg,m/0a.png,m/0i.png\na/0.jpg,m/0b.png,m/0i.png\nb, c.png,m/1.png,\n"
    lists(tmp_path, localization=text.replace("b, c", "bc"), **plain())
    first, second = read_wsol(tmp_path, None, images=False).samples
    assert first.boxes is None
    assert [path.name for path in first.object_masks] == ["0a.png", "0b.png"]
    assert first.ignore_mask == tmp_path / "m" / "0i.png"
    assert second.ignore_mask is None


@pytest.mark.parametrize("cells", ["../../m.png,i.png", "m.png,/etc/i.png", ",i.png"])
def test_masks_outside_their_folder_are_refused(tmp_path, cells):
    lists(tmp_path, **{**plain(), "localization": f"a/0.jpg,{cells}\nbc.png,m.png,\n"})
    with pytest.raises(UserError, match="which is not inside"):
        read_wsol(tmp_path, None, images=False)


def plain():
    """Masks are told from boxes by the number of commas, so that paths of masks must not hold any."""
    return {name.removesuffix(".txt"): LISTS[name].replace("b, c", "bc") for name in list(LISTS)[:3]}


def test_classes_by_name(tmp_path):
    lists(tmp_path / "val")
    (tmp_path / "classes.txt").write_text("\n".join(f"bird {i}" for i in range(12)), encoding="utf-8")
    assert read_wsol(tmp_path, "val", images=False).samples[1].labels == ("bird 11",)
    (tmp_path / "classes.txt").write_text("only\nthese\n", encoding="utf-8")
    with pytest.raises(UserError, match="names 2 classes, expected a line for each number up to 11"):
        read_wsol(tmp_path, "val", images=False)


@pytest.mark.parametrize("place", ["CUB/test", "CUB", "CUB/images", "dataset/CUB", "elsewhere"])
def test_images_are_found_where_the_benchmark_keeps_them(tmp_path, place):
    root = lists(tmp_path / "metadata" / "CUB" / "test").parent
    where = tmp_path / place if place in ("dataset/CUB", "elsewhere") else tmp_path / "metadata" / place
    for name in ("a/0.jpg", "b, c.png"):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).touch()
    if place == "CUB/test":
        samples = read_wsol(root / "test", "test")
    else:
        config = DataConfig(data=root, image_root=where if place == "elsewhere" else None)
        samples = read_samples(config, "test")
    assert samples.samples[0].path.resolve() == (where / "a" / "0.jpg").resolve()


def test_the_layout_is_recognised(tmp_path):
    lists(tmp_path / "val")
    assert detect_format(tmp_path) == detect_format(tmp_path / "val") == "wsol"
    assert len(read_samples(DataConfig(data=tmp_path), "val", images=False)) == 2
    with pytest.raises(UserError, match=r"2 of the 2 images that .*image_ids\.txt names are missing"):
        read_samples(DataConfig(data=tmp_path), "val")
    with pytest.raises(UserError, match="did you mean 'val'"):
        read_wsol(tmp_path, "vall")
    with pytest.raises(UserError, match="has no split 'test'; it has: all, val"):
        read_wsol(tmp_path / "val", "test")


ONLY = {"image_sizes": None, "localization": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": ""}, "lists no image"),
        ({"image_ids": "a/0.jpg\na/0.jpg\n"}, r"image_ids.txt:2: 'a/0.jpg' stands on line 1 too"),
        (
            {**ONLY, "image_ids": "../../etc/x", "class_labels": "../../etc/x,1"},
            r"names '\.\./\.\./etc/x', which is not in",
        ),
        ({**ONLY, "image_ids": "/etc/x", "class_labels": "/etc/x,1"}, "expected a relative path"),
        ({"class_labels": None}, "no label of 'a/0.jpg' .2 missing."),
        ({"class_labels": "a/0.jpg,1\nb, c.png,cat\n"}, r"class_labels.txt:2: the label 'cat'"),
        ({"class_labels": "a/0.jpg,-1\n"}, "the label '-1'"),
        ({"class_labels": "a/0.jpg,1\na/0.jpg,2\n"}, "a second label of 'a/0.jpg'"),
        ({"class_labels": "a/0.jpg,1\nz.jpg,2\n"}, r"class_labels.txt:2: 'z.jpg' is not among the images"),
        ({"class_labels": "a/0.jpg\n"}, "expected path,label"),
        ({"image_sizes": "a/0.jpg,0,5\n"}, r"image_sizes.txt:1: width is '0'"),
        ({"image_sizes": "a/0.jpg,4,5\n"}, "no size of 'b, c.png'"),
        ({"image_sizes": "a/0.jpg,4,5\na/0.jpg,4,5\n"}, "a second size"),
        ({"image_sizes": None}, "expected the sizes of the images, since boxes are in pixels"),
        ({"localization": "a/0.jpg,1,2,3,4\na/0.jpg,5,5,4,6\n"}, r"localization.txt:2: the inverted box 5,5,4,6"),
        ({"localization": "a/0.jpg,1,2,3,4\na/0.jpg,5,5,nan,6\n"}, r"localization.txt:2: the box 5,5,nan,6"),
        ({"localization": "a/0.jpg,1,2,3,4\n"}, "no box of 'b, c.png' .1 missing."),
        ({"localization": "a/0.jpg,m.png,i.png\na/0.jpg,n.png,j.png\n"}, "a second ignore path"),
    ],
)
def test_lists_that_cannot_be_are_one_line(tmp_path, changes, message):
    lists(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_wsol(tmp_path, "all", images=False)
    assert "\n" not in str(caught.value)


@given(text=st.text(st.sampled_from("a/.0,9-x\n \x00é"), max_size=60), name=st.sampled_from(list(LISTS)))
def test_any_text_is_lists_or_a_user_s_mistake(tmp_path_factory, text, name):
    folder = lists(tmp_path_factory.mktemp("lists"), **{name.removesuffix(".txt"): text})
    try:
        samples = read_wsol(folder, "all", images=False)
    except UserError:
        return
    assert all(sample.path.is_relative_to(folder) and ".." not in sample.path.parts for sample in samples.samples)


@given(
    boxes=st.lists(
        st.tuples(*[st.floats(-50, 2000, width=32)] * 4).map(
            lambda edges: (*map(min, edges[:2], edges[2:]), *map(max, edges[:2], edges[2:]))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_boxes_survive_their_list(tmp_path_factory, boxes):
    """Outside the image and without extent too: the benchmark takes them as they are."""
    text = "".join(f"a.jpg,{x0!r},{y0!r},{x1!r},{y1!r}\n" for x0, y0, x1, y1 in boxes)
    changes = {"image_ids": "a.jpg", "class_labels": "a.jpg,0", "image_sizes": "a.jpg,500,375", "localization": text}
    (sample,) = read_wsol(lists(tmp_path_factory.mktemp("lists"), **changes), "all", images=False).samples
    np.testing.assert_array_equal(sample.boxes.xyxy, np.float32(boxes) + np.float32([0, 0, 1, 1]))


@pytest.mark.long
@pytest.mark.realdata
def test_lists_of_tiny_imagenet(realdata, tmp_path):
    """Made by the script of the benchmarks, from the zip of Tiny ImageNet."""
    script = Path(__file__).parents[1] / "benchmarks" / "tiny_imagenet.py"
    source = realdata / "tiny-imagenet-wsol20.zip"
    subprocess.run([sys.executable, str(script), str(source), str(tmp_path)], check=True, capture_output=True)
    sizes = {"train": 5000, "val": 1000, "test": 1000}
    for split, count in sizes.items():
        samples = read_samples(DataConfig(data=tmp_path / "metadata"), split)
        assert (len(samples), len(samples.classes)) == (count, 20)
        assert all((sample.boxes is None) == (split == "train") for sample in samples.samples)
    first = samples.samples[0]
    assert read_image(first.path).shape[:2] == (64, 64)
    assert (first.boxes.xyxy[:, 2:] <= 64).all()  # its corners run from 0 to 63
