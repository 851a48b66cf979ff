"""Class maps as masks: VOC's palette, COCO's run lengths, and which class a pixel goes to."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.masks import class_mask, voc_palette, write_coco_masks, write_voc_masks
from wsl.maps import heatmap
from wsl.results import Localization


def localization(name="a.jpg", size=(20, 10), **maps):
    maps = {label: np.array(values, np.float32) for label, values in maps.items()}
    return Localization(path=name, size=size, scores=dict.fromkeys(maps, 0.5), boxes=Boxes.empty(), maps=maps or None)


def pair(found):
    return Labelled(name=found.path.as_posix(), size=found.size, boxes=found.boxes), found


LEFT, RIGHT = [[4, 0, 0, 0], [4, 0, 0, 0]], [[0, 0, 0, 7], [0, 0, 0, 7]]


def test_each_pixel_has_the_class_of_its_highest_map():
    mask = class_mask(localization(cat=LEFT, dog=RIGHT), {"cat": 0, "dog": 1}, threshold=0.5)
    assert mask.shape == (10, 20)
    assert mask[5].tolist() == [1] * 5 + [0] * 10 + [2] * 5
    both = class_mask(localization(cat=LEFT, dog=[[1, 1, 0, 0]] * 2), {"cat": 0, "dog": 1}, threshold=0.5)
    assert set(both[5, :2]) == {1}
    assert both[5, 8] == 2


def test_a_map_without_contrast_is_background():
    assert not class_mask(localization(cat=[[3, 3]]), {"cat": 0}, threshold=0).any()


def test_the_palette_is_that_of_voc(realdata):
    path = next((realdata / "VOCdevkit" / "VOC2012" / "SegmentationClassAug").glob("*.png"))
    with Image.open(path) as official:
        known = np.array(official.getpalette(), np.uint8).reshape(-1, 3)
    assert (voc_palette()[: len(known)] == known).all()


def test_masks_are_palette_images_of_class_numbers(tmp_path):
    found = localization("deep/a.jpg", cat=LEFT, dog=RIGHT)
    folder = write_voc_masks([pair(found)], tmp_path, ["dog", "cat"], threshold=0.5)
    with Image.open(folder / "deep" / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.array(picture), class_mask(found, {"dog": 0, "cat": 1}, 0.5))
        assert picture.convert("RGB").getpixel((19, 5)) == (128, 0, 0)
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8") == "dog\ncat\n"


def test_run_lengths_decode_to_the_thresholded_map(tmp_path):
    found = localization(cat=[[0, 1, 2, 3]], dog=RIGHT)
    path = write_coco_masks([pair(found)], tmp_path, ["cat", "dog"], threshold=0.4)
    results = json.loads(path.read_text(encoding="utf-8"))
    assert [result["category_id"] for result in results] == [1, 2]
    for label, result in zip(("cat", "dog"), results, strict=True):
        rle = {**result["segmentation"], "counts": result["segmentation"]["counts"].encode()}
        expected = heatmap(found.maps[label], found.size) > 0.4
        assert coco_mask.area(rle) == expected.sum()
        assert coco_mask.iou([rle], [coco_mask.encode(np.asfortranarray(expected, np.uint8))], [0]) == 1
        rows, columns = np.nonzero(expected)
        assert result["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_masks_need_maps_and_a_palette_s_worth_of_classes(tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg: no maps are stored.*--maps"):
        write_voc_masks([pair(localization())], tmp_path, ["cat"], threshold=0.5)
    with pytest.raises(UserError, match="300 classes, a palette image holds 254"):
        write_voc_masks([], tmp_path, [f"c{i}" for i in range(300)], threshold=0.5)
