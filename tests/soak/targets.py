"""Every reader of files that strangers may have written, each with a whole input to start from.

The lists of formats come from the code's own registries, so that a new one is fuzzed or fails `missing`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import platform
import tarfile
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

import heads
from wsl import checkpoints, config
from wsl.boxes import Boxes
from wsl.config import DataConfig
from wsl.config.shared import DataFormat
from wsl.data import read_samples
from wsl.documents import parse_json
from wsl.errors import UserError
from wsl.files.locks import LOCK
from wsl.formats import READERS, LocalizationWriter, MapStore, Split, read_localizations
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.layout import copies_list, read_copies
from wsl.formats.review import read_review
from wsl.images import image_size, read_image
from wsl.images.decode import _FORMATS as IMAGES
from wsl.images.decode import read_numbers
from wsl.masks import read_mask
from wsl.results import Localization
from wsl.samples import SampleSet


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader: ``make`` writes a whole input into a folder, ``read`` reads it; ``damaged`` are the files to damage."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    damaged: Callable[[Path], Iterable[Path]] = lambda folder: (path for path in folder.rglob("*") if path.is_file())


def _module(path: str) -> ModuleType:
    """A file of the tests, which are no package."""
    file = Path(__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(f"soak_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PREDICTIONS = _module("formats/test_prediction_readers.py")
SMALL = SampleSet(
    classes=PREDICTIONS.SAMPLES.classes,
    samples=[dataclasses.replace(one, path=Path("/nowhere", one.path.name)) for one in PREDICTIONS.SAMPLES.samples],
)


def _exchange(name: str) -> Target:
    def make(folder: Path) -> None:
        FORMATS[name].write(PREDICTIONS.images(), folder, SMALL.classes)
        for image in PREDICTIONS.images():
            place = folder / (FORMATS[name].images or ".") / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", image.size).save(place)

    def read(folder: Path) -> None:
        reader = FORMATS[name].read
        assert reader is not None
        files = [folder / file for file in FORMATS[name].layout.files]
        whole = FORMATS[name].layout.folder is not None or not files
        place = folder if whole else next((file for file in files if file.is_file()), folder)
        _use(reader(place, image_size))

    return Target(f"exchange {name}", make, read, lambda folder: _texts(folder))


def _texts(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".jpg", ".png"))


def _predictions(name: str, number: int, write: Callable[[Path], Any]) -> Target:
    place: list[Path] = []

    def make(folder: Path) -> None:
        place[:] = [Path(write(folder)).relative_to(folder)]

    def read(folder: Path) -> None:
        _use(READERS[name].read(folder / place[0], Split(samples=SMALL, name="val"), Counter()))

    return Target(f"predictions {name} {number}", make, read)


def _score_maps(suffix: str) -> Target:
    def make(folder: Path) -> None:
        for sample in SMALL.samples:
            values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
            file = folder / f"{sample.id}{suffix}"
            if suffix == ".npy":
                np.save(file, values)
            elif suffix == ".npz":
                np.savez_compressed(file, **dict.fromkeys(SMALL.classes, values))
            else:
                Image.fromarray((values * 255).astype(np.uint8)).save(file)

    def read(folder: Path) -> None:
        _use(READERS["maps"].read(folder, Split(samples=SMALL, name="val"), Counter()))

    return Target(f"predictions maps {suffix}", make, read)


def _use(items: Iterable[Any]) -> None:
    """Go through what a reader gives, and see that nothing of it is nonsense."""
    for item in items:
        found = item[0] if isinstance(item, tuple) else item
        width, height = found.size
        assert 0 < width * height <= 200_000_000
        assert np.isfinite(found.boxes.xyxy).all()
        assert np.isfinite(found.boxes.scores).all()
        assert (found.boxes.xyxy[:, 2:] >= found.boxes.xyxy[:, :2]).all()
        for values in (getattr(found, "maps", None) or {}).values():
            np.asarray(values).sum()


VOC = """<annotation><filename>a.png</filename><size><width>40</width><height>30</height></size><object><name>dog</name>
<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox></object></annotation>"""


def _data_set(layout: str) -> Target:
    def make(folder: Path) -> None:
        place = folder / {"voc": "JPEGImages", "coco": "val", "folder": "val/dog"}.get(layout, ".")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(place / "a.png")
        texts = {
            "voc": {"Annotations/a.xml": VOC, "ImageSets/Main/val.txt": "a\n", "labels.txt": "cat\ndog\n"},
            "coco": {"annotations/instances_val.json": json.dumps(COCO)},
            "csv": {"data.csv": 'path,labels,split\na.png,"cat;dog",val\n'},
            "wsol": {
                "val/image_ids.txt": "a.png\n",
                "val/class_labels.txt": "a.png,1\n",
                "val/image_sizes.txt": "a.png,40,30\n",
                "val/localization.txt": "a.png,1,2,11,22\n",
            },
        }
        for name, text in {**texts, **PUBLISHED}.get(layout, {"unused.txt": "x"}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        written = "csv" if layout == "boxes-csv" else layout
        if written in FORMATS:
            _exchange(written).make(folder)
        if layout == "label-studio":  # as if somebody had looked at them
            tasks = (folder / "tasks.json").read_text(encoding="utf-8")
            (folder / "tasks.json").write_text(tasks.replace('"predictions"', '"annotations"'), encoding="utf-8")
        if layout == "parquet":
            _parquet(folder / "val.parquet")
        elif layout == "webdataset":
            _tar(folder / "val-0.tar")

    def read(folder: Path) -> None:
        data = folder / "data.csv" if layout == "csv" else folder
        root = folder if layout == "wsol" else None
        settings = DataConfig(data=data, format=typing.cast(DataFormat, layout), image_root=root)
        for sample in read_samples(settings, SPLITS.get(layout, "val"), outlines=True).samples:
            assert sample.boxes is None or np.isfinite(sample.boxes.xyxy).all()
            assert sample.size is None or 0 < sample.size[0] * sample.size[1] <= 200_000_000

    return Target(f"data {layout}", make, read, lambda folder: _texts(folder))


def _parquet(file: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "PNG")
    objects = {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0]}
    columns = {"image": [{"bytes": picture.getvalue(), "path": "a.png"}], "label": [1], "objects": [objects]}
    names = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": names}})})
    pyarrow.parquet.write_table(table, file)


def _tar(file: Path) -> None:
    with tarfile.open(file, "w") as opened:
        for name, text in (
            ("a.png", "no picture"),
            ("a.json", '{"labels": ["dog", 1]}'),
            ("b.jpg", ""),
            ("b.cls", "3"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text.encode()))


# A name at a hub is none of a file; what is fetched by it is read as Parquet.
NO_FILES = ("auto", "hfds")
# Whose splits are not called val, or which have none.
SPLITS = {
    "cub": "test",
    "chestxray14": "test",
    **dict.fromkeys(("fiftyone", "boxes-csv", *FORMATS), "all"),
    "voc": "val",
    "coco": "val",
}
PUBLISHED = {
    "openimages": {
        "val-annotations-human-imagelabels.csv": "ImageID,LabelName,Confidence\na,/m/1,1\na,/m/2,0\n",
        "val-annotations-bbox.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/1,0.1,0.5,0.2,1,0\n",
        "class-descriptions-boxable.csv": "/m/1,Dog\n/m/2,Cat\n",
    },
    "imagenet": {
        "Data/CLS-LOC/val/a.JPEG": "x",
        "Data/CLS-LOC/train/n1/b.JPEG": "x",
        "Annotations/CLS-LOC/val/a.xml": VOC.replace("dog", "n1"),
        "LOC_synset_mapping.txt": "n1 dog, hound\n",
    },
    "cub": {
        "images.txt": "1 x/a.png\n",
        "images/x/a.png": "x",
        "image_class_labels.txt": "1 1\n",
        "classes.txt": "1 001.dog\n",
        "train_test_split.txt": "1 0\n",
        "bounding_boxes.txt": "1 1.0 2.0 3.5 4.0\n",
    },
    "chestxray14": {
        "Data_Entry_2017.csv": "Image Index,Finding Labels,Age\na.png,Mass|Nodule,3\n",
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,1,2,3.5,4,,,\n",
        "test_list.txt": "a.png\n",
    },
    "imagefolder": {
        "val/metadata.jsonl": '{"file_name": "a.png", "labels": ["dog", 2], "objects": {"bbox": [[1, 2, 3, 4]], '
        '"categories": ["dog"]}}\n',
        "val/a.png": "x",
    },
    "fiftyone": {
        "samples.json": json.dumps(
            {
                "samples": [
                    {
                        "filepath": "a.png",
                        "tags": ["val"],
                        "metadata": {"width": 40, "height": 30},
                        "ground_truth": {
                            "_cls": "Detections",
                            "detections": [{"_cls": "Detection", "label": "dog", "bounding_box": [0, 0, 0.5, 1]}],
                        },
                        "kind": {"_cls": "Classification", "label": "cat"},
                    }
                ]
            }
        )
    },
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
    "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 20], "area": 200.0, "iscrowd": 0,
         "segmentation": [[1, 2, 11, 2, 11, 22, 1, 22]]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1,
         "segmentation": {"size": [30, 40], "counts": [1200]}},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 0,
         "segmentation": {"size": [30, 40], "counts": "`U1"}},
    ],
}  # fmt: skip


def _picture(kind: str, read: Callable[[Path], object], mode: str = "RGB") -> Target:
    def make(folder: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.fromarray(values).convert(mode)
        options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}
        try:
            picture.save(folder / "a.img", format=kind, **options)
        except (OSError, KeyError):  # Pillow was built without it
            Image.new("L", (4, 4)).save(folder / "a.img", format="PNG")

    return Target(f"image {kind} {mode} {getattr(read, '__name__', '')}", make, lambda folder: read(folder / "a.img"))


def _own() -> Iterator[Target]:
    """Our own files, which strangers may have changed."""

    def with_maps(folder: Path) -> None:
        store = MapStore(folder)
        with LocalizationWriter(folder) as writer:
            for image in PREDICTIONS.images():
                maps = {"dog": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)}
                found = Localization(
                    path=image.name,
                    size=image.size,
                    scores={"dog": 0.5},
                    boxes=image.boxes,
                    points={"dog": (1, 2)},
                    maps=maps,
                )
                writer.write(store.write(found))

    yield Target("localizations with maps", with_maps, lambda folder: _use(read_localizations(folder)))

    for kind in SETTINGS:

        def write(folder: Path, kind: Any = kind) -> None:
            (folder / "config.json").write_text(config.to_json(SETTINGS[kind]), encoding="utf-8")

        def read(folder: Path, kind: Any = kind) -> None:
            config.from_json((folder / "config.json").read_text(encoding="utf-8", errors="replace"), kind)

        yield Target(f"settings {kind.__name__}", write, read)
    specs = [*heads.list_poolings(), *heads.list_encoders()]

    def write_specs(folder: Path) -> None:
        (folder / "spec").write_text("weldon(k_max=0.2, k_min=all)", encoding="utf-8")

    def read_spec(folder: Path) -> None:
        from wsl.models.create_head import create_head

        spec = (folder / "spec").read_text(encoding="utf-8", errors="replace")
        create_head(8, 3, head=None, pooling=spec, neck=None, maps_per_class=1)

    yield Target(f"specs ({len(specs)} names)", write_specs, read_spec)

    def copies(folder: Path) -> None:
        (folder / copies_list("yolo")).write_text('["a.png", "b/c.png"]', encoding="utf-8")
        (folder / "a.png").touch()

    def read_list(folder: Path) -> None:
        assert all(".." not in Path(name).parts for name in read_copies(folder, "yolo"))

    yield Target("list of copies", copies, read_list)

    def lock(folder: Path) -> None:
        holder = {"who": "a", "since": "b", "host": platform.node(), "pid": 2**31 - 1}  # gone
        (folder / LOCK).write_text(json.dumps(holder), encoding="utf-8")

    def take(folder: Path) -> None:
        from wsl.files import locked

        with locked(folder, "soak"):
            pass

    yield Target("lock", lock, take)

    def review(folder: Path) -> None:
        marks = [
            {"image": "a.jpg", "class": "dog", "mark": "accept"},
            {"image": "b.jpg", "class": "dog", "mark": "reject"},
        ]
        document = {"title": "x", "boxes": {"threshold": 0.4, "box_rule": "all"}, "marks": marks}
        (folder / "reviewed.json").write_text(json.dumps(document), encoding="utf-8")

    yield Target("review", review, lambda folder: read_review(folder / "reviewed.json"))

    def given(folder: Path) -> None:
        (folder / "config.json").write_text(config.to_json(SETTINGS[config.TrainConfig]), encoding="utf-8")

    def take_defaults(folder: Path) -> None:
        from wsl.cli.defaults import train_defaults

        train_defaults(["--config", str(folder / "config.json"), "--epochs", "3"])

    yield Target("settings of a command", given, take_defaults)


def _labelling() -> Iterator[Target]:
    """What Label Studio sends to its backend."""
    from wsl.labelling.answers import Annotator
    from wsl.labelling.interface import Interface

    class Predictor:
        """Finds a dog in everything, without the threads of a real one; decoders have targets of their own."""

        classes = ("cat", "dog")

        def __call__(self, images: Any, *, errors: str) -> list[Localization]:
            dog = Boxes(xyxy=[[0, 0, 4, 4]], labels=["dog"])
            scores = {"dog": 0.5, "cat": 0.2}
            return [
                Localization(path=one.image, size=(20, 10), scores=scores, boxes=dog, points={"dog": (1, 1)})
                for one in images
            ]

    xml = (
        '<View><Image name="img" value="$image"/><RectangleLabels name="box" toName="img"><Label value="dog"/>'
        '<Label value="cat" alias="Cat"/></RectangleLabels><Choices name="what" toName="img"><Choice value="cat"/>'
        "</Choices></View>"
    )

    def request(folder: Path) -> None:
        Image.new("RGB", (20, 10)).save(folder / "a.png")
        tasks = [{"data": {"image": "/data/local-files/?d=a.png"}}, {"data": {"image": "/data/upload/1/b.png"}}]
        body = {"tasks": tasks, "project": "1.2", "label_config": xml}
        (folder / "request.json").write_text(json.dumps(body), encoding="utf-8")

    def answer(folder: Path) -> None:
        body = parse_json((folder / "request.json").read_bytes(), "the request", "a request")
        if not isinstance(body, dict) or not isinstance(body.get("tasks"), list):
            raise UserError("no tasks")
        answers = Annotator(Predictor(), folder, "x").answer(body["tasks"], str(body.get("label_config")))
        assert len(answers) == len(body["tasks"])

    yield Target("labelling tasks", request, answer, lambda folder: [folder / "request.json"])
    yield Target(
        "labelling interface",
        lambda folder: (folder / "interface.xml").write_text(xml, encoding="utf-8"),
        lambda folder: Interface.read((folder / "interface.xml").read_text("utf-8", "replace"), ["cat", "dog"]),
    )


SETTINGS: dict[Any, Any] = {
    config.TrainConfig: config.TrainConfig(data=DataConfig(data=Path("x")), out=Path("y")),
    config.LocalizeConfig: config.LocalizeConfig(sources=("x",), weights="resnet50", out=Path("y")),
    config.EvaluateConfig: config.EvaluateConfig(data=DataConfig(data=Path("x")), out=Path("y"), weights="resnet50"),
    checkpoints.Recipe: checkpoints.Recipe(
        backbone="tinynet", pooling="gap", classes=("cat", "dog"), preprocessing=config.Preprocessing()
    ),
}


def _models() -> Iterator[Target]:
    """Files of models: checkpoints of ours, weights of others, ONNX."""
    import torch

    from wsl.models import Localizer, load, save
    from wsl.models.export import export_model
    from wsl.models.onnx import OnnxLocalizer
    from wsl.models.weights import read_state_dict

    model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    small = {"conv.weight": torch.zeros(2, 3, 1, 1), "conv.bias": torch.zeros(2)}
    yield Target(
        "model of a run",
        lambda folder: save(model, folder / "model.safetensors"),
        lambda folder: load(folder),
    )
    yield Target(
        "weights .pth",
        lambda folder: torch.save({"state_dict": small}, folder / "a.pth"),
        lambda folder: read_state_dict(folder / "a.pth"),
    )
    if importlib.util.find_spec("onnxruntime"):
        from wsl.models.onnx import OnnxLocalizer

        def onnx(folder: Path) -> None:
            if not ONNX:
                export_model(model, folder / "a.onnx", "onnx", image_size=64)
                ONNX.append((folder / "a.onnx").read_bytes())
            (folder / "a.onnx").write_bytes(ONNX[0])

        def run_onnx(folder: Path) -> None:
            opened = OnnxLocalizer(folder / "a.onnx")
            if opened.size in (None, (64, 64)):
                opened(torch.zeros(1, 3, 64, 64))

        yield Target("model ONNX", onnx, run_onnx)


ONNX: list[bytes] = []


def targets(*, models: bool = True) -> list[Target]:
    """All readers."""
    found = [_exchange(name) for name, one in FORMATS.items() if one.read is not None]
    for name, writers in PREDICTIONS.WRITERS.items():
        found += [_predictions(name, number, write) for number, write in enumerate(writers)]
    found += [_score_maps(suffix) for suffix in (".npy", ".npz", ".png")]
    found += [_data_set(layout) for layout in typing.get_args(DataFormat) if layout not in NO_FILES]
    for kind in IMAGES:
        found += [_picture(kind, read_image), _picture(kind, image_size)]
    found += [_picture("PNG", read_numbers, "P"), _picture("PNG", read_mask, "L"), _picture("PNG", read_image, "RGBA")]
    return [*found, *_own(), *((*_models(), *_labelling()) if models else ())]


def missing() -> set[str]:
    """Formats in the code's registries that no target reads."""
    names = {target.name for target in targets(models=False)}
    known = {f"exchange {name}" for name, one in FORMATS.items() if one.read is not None}
    known |= {f"predictions {name} 0" for name in READERS if name != "maps"} | {"predictions maps .npy"}
    known |= {f"data {layout}" for layout in typing.get_args(DataFormat) if layout not in NO_FILES}
    known |= {f"image {kind} RGB read_image" for kind in IMAGES}
    return known - names
