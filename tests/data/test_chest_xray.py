"""ChestX-ray14: findings, boxes of some of them, and the two lists of splits."""

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_chest_xray, read_samples
from wsl.errors import UserError

FINDINGS = """Image Index,Finding Labels,Follow-up #,Patient ID
a.png,Cardiomegaly|Infiltration,0,1
b.png,No Finding,1,1
c.png,Mass,0,2
"""
# The published header, commas at its end included.
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Infiltrate,10,20,30.5,40,,,\n"


@pytest.fixture
def xrays(tmp_path, write):
    write("Data_Entry_2017_v2020.csv", FINDINGS)
    write("BBox_List_2017.csv", BOXES)
    write("train_val_list.txt", "b.png\nc.png\n")
    write("test_list.txt", "a.png\n")
    for name in ("images_001/images/a.png", "images_001/images/b.png", "images_002/images/c.png"):
        write(name)
    return tmp_path


def test_findings_and_boxes(xrays):
    assert detect_format(xrays) == "chestxray14"
    (sample,) = read_samples(DataConfig(data=xrays), "test").samples
    assert sample.labels == ("Cardiomegaly", "Infiltration")
    assert (sample.boxes.labels, sample.boxes.xyxy.tolist()) == (("Infiltration",), [[10, 20, 40.5, 60]])


def test_splits_share_the_classes(xrays):
    assert read_chest_xray(xrays, "train_val").classes == ("Cardiomegaly", "Infiltration", "Mass")
    healthy, mass = read_chest_xray(xrays, "train_val").samples
    assert (healthy.labels, healthy.boxes, mass.labels) == ((), None, ("Mass",))
    assert [sample.id for sample in read_chest_xray(xrays, "boxes").samples] == ["a.png"]
    (xrays / "images_001/images/b.png").unlink()
    assert len(read_chest_xray(xrays, "all")) == 2  # those that are there
    with pytest.raises(UserError, match=r"b\.png: no such image; 1 of 2 images of split train_val are missing"):
        read_chest_xray(xrays, "train_val")
    with pytest.raises(UserError, match="no split 'tset'; did you mean 'test'"):
        read_chest_xray(xrays, "tset")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BBox_List_2017.csv", BOXES.replace("Infiltrate", "Fracture"), "line 2: the finding 'Fracture'"),
        ("BBox_List_2017.csv", BOXES.replace("30.5", "-3"), "line 2: the box is -3 by 40"),
        ("BBox_List_2017.csv", "header\na.png,Mass,1\n", "line 2 has 3 cells"),
        ("test_list.txt", "lost.png\n", r"test_list\.txt:1: 'lost\.png' is not in the table"),
        ("Data_Entry_2017_v2020.csv", "Image Index,Finding Labels\na.png,No Finding\n", "no image has a finding"),
    ],
)
def test_a_malformed_table_is_named(xrays, write, name, text, message):
    write(name, text)
    with pytest.raises(UserError, match=message):
        read_chest_xray(xrays, "test")
