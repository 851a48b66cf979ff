"""Handing on: boxes, masks and models from the command line, and corrected boxes back."""

import json
import re
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import BoxConfig, ExportConfig, LocalizeConfig, PickConfig, RuntimeConfig, from_json, to_json
from wsl.config.export import BoxFormat, FolderFormat
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, read_localizations
from wsl.formats.exchange import FORMATS
from wsl.images import image_size
from wsl.models import Localizer, export_model, load
from wsl.models.export import METADATA_KEY
from wsl.results import Localization
from wsl.verbs.export import export
from wsl.verbs.localize import run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32", workers=0)


@pytest.fixture(scope="session")
def found(run, photos, tmp_path_factory):
    """Localizations of the validation images, maps kept."""
    out = tmp_path_factory.mktemp("found")
    pattern = str(photos / "val*.png")
    config = LocalizeConfig(sources=(pattern,), weights=str(run), out=out, maps=True, runtime=CPU)
    assert run_localize(config).images == 16
    return out


def boxes(folder):
    rows = [(each.path.name, each.boxes.labels, each.boxes.xyxy.tolist()) for each in read_localizations(folder)]
    return sorted(rows)


def test_the_command_line_knows_every_format():
    assert {*FORMATS, "wsl"} == set(BoxFormat.__args__)


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.read])
def test_boxes_go_out_and_come_back(name, found, photos, tmp_path, capsys):
    """As a person does it: to another tool, and from there to our own evaluation."""
    out, back = tmp_path / "out", tmp_path / "back"
    assert cli.export([str(found), "--format", name, "--copy-images", "--out", str(out)]) == 0
    assert "16 boxes in 16 images" in capsys.readouterr().out
    folder = out / (FORMATS[name].images or "images")
    assert {path.name for path in folder.glob("*.png")} == {path.name for path in photos.glob("val*.png")}
    files = {
        "coco": "annotations/instances_all.json",
        "label-studio": "tasks.json",
        "cvat": "annotations.xml",
        "csv": "boxes.csv",
    }
    source = str(out / files.get(name, "."))
    reviewed = ["--keep-unreviewed"] if name == "label-studio" else []
    assert cli.export([source, "--source-format", name, "--format", "wsl", "--out", str(back), *reviewed]) == 0
    for (image, labels, before), (other, same, after) in zip(boxes(found), boxes(back), strict=True):
        assert (image, labels) == (other, same)
        np.testing.assert_allclose(after, before, atol=0.51 if name == "voc" else 1e-2)
    assert all(each.path.is_file() for each in read_localizations(back))


@pytest.fixture
def album(tmp_path):
    """Localizations of images in folders, with three names of one stem, each of its own colour."""
    with LocalizationWriter(tmp_path / "album") as writer:
        for i, name in enumerate(("x/a.png", "y/a.png", "x/a.jpg", "x_a.png", "b.png")):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6 + i), (50 * i,) * 3).save(path)
            box = Boxes(xyxy=[[1, 1, 5, 4 + i]], labels=["dog"], scores=[0.5])
            writer.write(Localization(path=path, size=(8, 6 + i), scores={"dog": 0.5}, boxes=box))
    return tmp_path / "album"


FLAT = ["b.png", "x_a.png", "x_a~2.jpg", "x_a~3.png", "y_a.png"]


@pytest.mark.parametrize("name", [name for name in get_args(FolderFormat) if name != "voc-masks"])
def test_images_of_several_folders_are_laid_flat(name, album, tmp_path):
    out = tmp_path / "out"
    settings = {"sources": (album,), "format": name, "out": out, "copy_images": True, "layout": "flat"}
    path = export(ExportConfig(**settings)).path
    folder = out / FORMATS[name].images
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".jpg")) == FLAT
    source = out if name in ("voc", "yolo", "labelme") else path
    images = list(FORMATS[name].read(source, image_size))
    assert sorted(image.name for image in images) == FLAT
    for image in images:  # each with its own picture and box
        assert image_size(folder / image.name) == image.size
        assert image.boxes.xyxy.tolist() == [[1, 1, 5, image.size[1] - 2]]
    assert export(ExportConfig(**settings, overwrite=True)).images == 5
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".jpg")) == FLAT


def test_the_nested_layout_keeps_the_folders(album, tmp_path):
    export(ExportConfig(sources=(album,), format="coco", out=tmp_path / "out", copy_images=True))
    assert (tmp_path / "out" / "images" / "x" / "a.jpg").is_file()


@pytest.mark.parametrize(("name", "copied"), [("yolo", False), ("coco-results", True), ("wsl", True), ("onnx", True)])
def test_images_that_are_not_copied_keep_their_names(name, copied):
    with pytest.raises(UserError, match="--layout flat gives images new names"):
        ExportConfig(sources=("found",), format=name, out="out", copy_images=copied, layout="flat")


@pytest.mark.parametrize("layout", ["nested", "flat"])
@pytest.mark.parametrize("name", ["coco", "csv", "voc"])
def test_an_export_is_a_data_set_to_evaluate_on(name, layout, album, tmp_path, capsys):
    """Both sides are exports: the annotations are taken for the truth, and for predictions where they have scores."""
    settings = {"sources": (album,), "format": name, "copy_images": True, "layout": layout}
    if name == "voc":  # whose names of files have no suffix: two images of a folder cannot share theirs
        lines = (album / "localizations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (album / "localizations.jsonl").write_text("".join(x for x in lines if "a.jpg" not in x), encoding="utf-8")
    out = tmp_path / "out"
    export(ExportConfig(**settings, out=out))
    predictions = tmp_path / "predictions"
    export(ExportConfig(sources=(out,), source_format=name, format="wsl", out=predictions))
    flags = ["--predictions", str(predictions), "--data", str(out), "--split", "all", "--out", str(tmp_path / "found")]
    assert cli.evaluate(flags) == 0
    report = json.loads((tmp_path / "found" / "evaluation.json").read_text(encoding="utf-8"))
    assert report["images"] == (4 if name == "voc" else 5)


def test_coco_s_folder_with_scores_is_a_folder_of_predictions(album, tmp_path):
    data = tmp_path / "data"
    export(ExportConfig(sources=(album,), format="coco", out=data, copy_images=True))
    export(ExportConfig(sources=(album,), format="coco", out=tmp_path / "scored", scores=True))
    flags = ["--data", str(data), "--split", "all", "--out", str(tmp_path / "found")]
    assert cli.evaluate(["--predictions", str(tmp_path / "scored"), *flags]) == 0


def test_an_earlier_export_of_coco_is_replaced(album, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "instances.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds 1 file of coco \(instances\.json first\)"):
        export(ExportConfig(sources=(album,), format="coco", out=tmp_path / "out"))
    export(ExportConfig(sources=(album,), format="coco", out=tmp_path / "out", overwrite=True))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.json")] == [
        "annotations/instances_all.json"
    ]


def test_boxes_below_a_score_stay_behind(found, tmp_path):
    some = export(ExportConfig(sources=(found,), format="csv", out=tmp_path, min_score=0.9))
    scores = [score for each in read_localizations(found) for score in each.boxes.scores]
    assert some.boxes == sum(score >= 0.9 for score in scores)
    assert 0 < some.boxes < len(scores)


@pytest.mark.parametrize("name", ["voc-masks", "coco-masks"])
def test_maps_go_out_as_masks(name, found, tmp_path):
    result = export(ExportConfig(sources=(found,), format=name, out=tmp_path, boxes=BoxConfig(threshold=0.5)))
    assert result.images == 16
    assert result.path.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["NOWHERE", "--format", "coco"], "^error: .*nowhere: no such file or folder; expected localizations"),
        (["FOUND", "--format", "coco", "--classes", "green"], "class 'red' is not among those to export|class 'blue'"),
        (["FOUND", "--format", "csv", "--image-root", "NOWHERE"], "is not below"),
        (["FOUND", "--format", "voc-masks", "--source-format", "csv"], "cannot be read|masks are made from maps"),
        (["RUN", "--format", "onnx"], "expected a name that ends with .onnx"),
    ],
)
def test_a_mistake_is_one_line(flags, message, found, run, tmp_path, capsys):
    places = {"NOWHERE": str(tmp_path / "nowhere"), "FOUND": str(found), "RUN": str(run)}
    assert cli.export([*(places.get(flag, flag) for flag in flags), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("photos/a.jpg", "photos/x/../a.jpg"), "a.jpg occurs twice"),
        (("a.jpg", "../b.jpg"), "'../b.jpg' leads out of its folder"),
    ],
)
def test_unfit_names_are_refused_before_anything_is_written(paths, message, tmp_path):
    with LocalizationWriter(tmp_path / "found") as writer:
        for i, path in enumerate(paths):
            box = Boxes(xyxy=[[0, 0, 1 + i, 1]], labels="a")
            writer.write(Localization(path=path, size=(4, 2), scores={}, boxes=box))
    with pytest.raises(UserError, match=message):
        export(ExportConfig(sources=(tmp_path / "found",), format="voc", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_reference_is_for_results_only(found):
    with pytest.raises(UserError, match="--reference is for coco-results and coco-masks, not for voc"):
        ExportConfig(sources=(found,), format="voc", out=found, reference=found)


def test_the_configuration_survives_json(found):
    config = ExportConfig(sources=(found,), format="coco", out=found, classes=("a", "b"), scores=True)
    assert from_json(to_json(config), ExportConfig) == config


def test_an_onnx_model_localizes_as_the_run_does(run, photos, found, tmp_path, capsys):
    """Exported, checked by onnx, run by onnxruntime on other sizes, and taken by wsl-localize."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    assert cli.export([str(run), "--format", "onnx", "--out", str(path)]) == 0
    assert "of PyTorch's" in capsys.readouterr().out
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    described = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert described["classes"] == ["blue", "red"]
    assert described["preprocessing"]["image_size"] == 64

    images = torch.randn((1, 3, 96, 128), generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        for ours, theirs in zip(load(run)(images), session.run(None, {"images": images.numpy()}), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)

    out = tmp_path / "found"
    sources = (str(photos / "val*.png"),)
    run_localize(LocalizeConfig(sources=sources, weights=str(path), out=out, maps=True, runtime=CPU))
    assert boxes(out) == boxes(found)


def test_a_torch_program_carries_its_description(tmp_path):
    model = Localizer("tinynet", classes=["cat", "dog"], pooling="kmax(k=0.2)", weights="none").eval()
    path = tmp_path / "model.pt2"
    assert export_model(model, path, "torch", image_size=64) < 1e-5
    extra = {METADATA_KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra[METADATA_KEY])["classes"] == ["cat", "dog"]
    images = torch.randn((3, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(tuple(program.module()(images)), tuple(model(images)))


def test_a_foreign_onnx_file_is_refused(photos, tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "foreign", ends[:1], ends[1:])
    foreign = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for name, message in (("broken", "cannot be run"), ("foreign", "was not written by wsl-export")):
        config = LocalizeConfig(
            sources=(str(photos),), weights=str(tmp_path / f"{name}.onnx"), out=tmp_path / "out", pick=PickConfig()
        )
        with pytest.raises(UserError, match=message):
            run_localize(config)
