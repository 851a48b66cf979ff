"""The tools that boxes are handed to read them as they were meant; each is skipped where it is not installed.

They are too many and too heavy for the development environment, so they are tried in one of their own:
``pip install supervision labelme label-studio-sdk datumaro`` beside wsl-toolkit.
"""

import json

import numpy as np
import pytest
from PIL import Image

from wsl.boxes import Boxes
from wsl.config import ExportConfig
from wsl.formats import LocalizationWriter
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.results import Localization
from wsl.verbs.export import export

CLASSES = ["dog", "traffic light"]
BOXES = [[1, 2, 11, 22], [5, 5, 60, 40]]
# The tools' own warnings are theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def written(tmp_path):
    """Write two images, one without boxes, in a format."""

    def write(name):
        boxes = Boxes(xyxy=np.array(BOXES), labels=CLASSES, scores=[0.75, 0.5])
        images = [
            Labelled(name="a b.jpg", size=(64, 48), boxes=boxes),
            Labelled(name="c.jpg", size=(40, 30), boxes=Boxes.empty()),
        ]
        FORMATS[name].write(iter(images), tmp_path, CLASSES)
        folder = tmp_path / (FORMATS[name].images or ".")
        folder.mkdir(exist_ok=True)
        for image in images:
            Image.new("RGB", image.size).save(folder / image.name)
        return tmp_path

    return write


@pytest.mark.parametrize("name", ["yolo", "voc", "coco"])
def test_supervision_loads_a_detection_set(name, written):
    supervision = pytest.importorskip("supervision")
    root = written(name)
    loaders = {
        "yolo": ("from_yolo", "images", "labels", "data.yaml"),
        "voc": ("from_pascal_voc", "JPEGImages", "Annotations"),
        "coco": ("from_coco", "images", "annotations/instances_all.json"),
    }
    loader, *places = loaders[name]
    found = getattr(supervision.DetectionDataset, loader)(*(str(root / place) for place in places))
    assert found.classes == CLASSES
    (_, _, with_boxes), (_, _, without) = found
    assert with_boxes.xyxy.tolist() == BOXES
    assert with_boxes.class_id.tolist() == [0, 1]
    assert len(without) == 0


def test_labelme_opens_an_image_with_its_rectangles(written, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    labelme = pytest.importorskip("labelme._label_file")
    shapes = labelme.LabelFile(str(written("labelme") / "a b.json")).shapes
    assert [(shape["label"], shape["shape_type"]) for shape in shapes] == [(name, "rectangle") for name in CLASSES]
    assert [[*shape["points"][0], *shape["points"][1]] for shape in shapes] == BOXES


def test_label_studio_takes_the_interface_and_its_predictions(written):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    root = written("label-studio")
    known = interface.LabelInterface((root / "labelling.xml").read_text(encoding="utf-8"))
    known.validate()
    tasks = json.loads((root / "tasks.json").read_text(encoding="utf-8"))
    assert [known.validate_prediction(prediction) for task in tasks for prediction in task["predictions"]] == [True] * 2


@pytest.mark.parametrize("name", ["yolo", "voc"])
def test_supervision_loads_images_of_several_folders_laid_flat(name, tmp_path):
    supervision = pytest.importorskip("supervision")
    with LocalizationWriter(tmp_path / "found") as writer:
        for folder in "xy":
            path = tmp_path / "photos" / folder / "a.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (64, 48)).save(path)
            boxes = Boxes(xyxy=np.array(BOXES), labels=CLASSES, scores=[0.75, 0.5])
            writer.write(Localization(path=path, size=(64, 48), scores={}, boxes=boxes))
    settings = {"sources": (tmp_path / "found",), "format": name, "copy_images": True}
    places = {"yolo": ("images", "labels", "data.yaml"), "voc": ("JPEGImages", "Annotations")}[name]
    load = getattr(supervision.DetectionDataset, {"yolo": "from_yolo", "voc": "from_pascal_voc"}[name])
    for layout, number in (("nested", 0), ("flat", 2)):  # supervision does not look into subfolders
        export(ExportConfig(**settings, layout=layout, out=tmp_path / layout))
        found = load(*(str(tmp_path / layout / place) for place in places))
        assert len(found) == number
    assert [boxes.xyxy.tolist() for _, _, boxes in found] == [BOXES, BOXES]


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_datumaro_imports_a_detection_set(name, written):
    datumaro = pytest.importorskip("datumaro")
    options = {"coordinate_mode": "voc-one-based"} if name == "voc" else {}
    root = written(name)
    found = datumaro.Dataset.import_from(str(root), name, **options)
    names = [label.name for label in found.categories()[datumaro.AnnotationType.label]]
    assert [label for label in names if label != "background"] == CLASSES
    boxes = {
        item.id: sorted(
            (names[one.label], one.get_bbox()) for one in item.annotations if one.type == datumaro.AnnotationType.bbox
        )
        for item in found
    }
    expected = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in BOXES]
    assert sorted(boxes) == ["a b", "c"]
    assert [label for label, _ in boxes["a b"]] == CLASSES
    np.testing.assert_allclose([box for _, box in boxes["a b"]], expected, atol=0.01)
    assert boxes["c"] == []
    assert any(form.startswith(name) for form in datumaro.Environment().detect_dataset(str(root)))


def test_datumaro_imports_cvat_s_annotations(written):
    datumaro = pytest.importorskip("datumaro")
    found = datumaro.Dataset.import_from(str(written("cvat")), "cvat")
    assert [label.name for label in found.categories()[datumaro.AnnotationType.label]] == CLASSES
    boxes = {item.id: [annotation.get_bbox() for annotation in item.annotations] for item in found}
    expected = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in BOXES]
    assert boxes == {"a b": expected, "c": []}
