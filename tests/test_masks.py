import subprocess

import numpy as np
import pytest
from PIL import Image, ImageFile

from wsl.data.voc import VOC_CLASSES, read_voc
from wsl.errors import UserError
from wsl.masks import IGNORED, object_mask, read_mask


def save(path, rows, mode=None):
    picture = Image.fromarray(np.uint8(rows))
    if mode == "P":
        picture.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    (picture if mode in (None, "P") else picture.convert(mode)).save(path)
    return path


def test_a_palette_gives_its_indices(tmp_path):
    rows = [[0, 20, 255], [1, 0, 0]]
    assert read_mask(save(tmp_path / "a.png", rows, "P")).tolist() == rows
    assert read_mask(save(tmp_path / "b.png", rows), size=(3, 2)).tolist() == rows


def test_what_is_no_mask_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"a\.png.*no such mask"):
        read_mask(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"c\.png.*colour mode RGB"):
        read_mask(save(tmp_path / "c.png", [[1]], "RGB"))
    with pytest.raises(UserError, match=r"s\.png.*3x2.*2x3"):
        read_mask(save(tmp_path / "s.png", [[0, 0, 0]] * 2), size=(2, 3))
    (tmp_path / "d.png").write_bytes((tmp_path / "s.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"^mask .*d\.png: damaged or truncated"):
        read_mask(tmp_path / "d.png")


def test_a_mask_is_a_picture_of_a_few_formats_and_of_its_image_s_size(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "e.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match=r"^mask .*e\.png: not a picture in a known format"):
        read_mask(tmp_path / "e.png", size=(4, 3))
    file = save(tmp_path / "a.png", [[0] * 40] * 30)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UserError, match="40x30 pixels, expected the image's 4x3"):
        read_mask(file, size=(4, 3))


def test_objects_come_before_what_is_to_be_ignored(tmp_path):
    one = save(tmp_path / "1.png", [[255, 0, 0, 0]])
    two = save(tmp_path / "2.png", [[0, 1, 0, 0]])
    ignored = save(tmp_path / "i.png", [[255, 255, 255, 0]])
    assert object_mask([one, two], ignored, (4, 1)).tolist() == [[1, 1, IGNORED, 0]]
    assert object_mask([one], None, (8, 2)).tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]] * 2
    with pytest.raises(UserError, match="at least one"):
        object_mask([], ignored, (4, 1))


def voc(root, masks, label="dog"):
    for folder in ("ImageSets/Main", "JPEGImages", "Annotations", masks):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Main/val.txt").write_text("a\nb\n")
    for name in "ab":
        save(root / f"JPEGImages/{name}.jpg", [[0] * 4] * 4, "RGB")
        (root / f"Annotations/{name}.xml").write_text(
            "<annotation><size><width>4</width><height>4</height></size><object>"
            f"<name>{label}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>"
            "</annotation>"
        )
    save(root / masks / "a.png", [[12] * 4] * 4)


@pytest.mark.parametrize("masks", ["SegmentationClass", "SegmentationClassAug"])
def test_voc_has_masks_where_there_are_some(tmp_path, masks):
    voc(tmp_path, masks)
    samples = read_voc(tmp_path, "val")
    assert samples.classes == VOC_CLASSES
    assert [sample.mask for sample in samples.samples] == [tmp_path / masks / "a.png", None]


def test_masks_of_other_classes_are_not_taken_for_vocs(tmp_path):
    voc(tmp_path, "SegmentationClass", label="zebra")
    assert [sample.mask for sample in read_voc(tmp_path, "val").samples] == [None, None]
