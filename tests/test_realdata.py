"""The whole path on real photographs: train a short epoch, localize, evaluate, visualize."""

import json

import pytest

from wsl import cli

pytestmark = pytest.mark.realdata


@pytest.fixture
def small_voc(realdata, tmp_path):
    """VOC 2012 with the first 160 images of its val split; how well it does is the table's matter, not this room's."""
    own, voc = realdata / "VOCdevkit" / "VOC2012", tmp_path / "VOC2012"
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (voc / folder).symlink_to(own / folder, target_is_directory=True)
    names = (own / "ImageSets" / "Main" / "val.txt").read_text(encoding="utf-8").split()
    (voc / "ImageSets" / "Main" / "val.txt").write_text("\n".join(names[:160]), encoding="utf-8")
    return voc


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(["--freeze-backbone"], id="frozen"),
        pytest.param(["--batch-size", "16"], id="fine-tuned"),
    ],
)
@pytest.mark.quick("mode", [["--freeze-backbone"]])
def test_from_labels_to_pictures(realdata, small_voc, tmp_path, mode, capsys):
    voc, run, found = str(small_voc), str(tmp_path / "run"), str(tmp_path / "found")
    weights = str(realdata / "weights" / "mobilenet_v2-coral-tf2ptq-fp16.pth")
    model = ["--backbone", "mobilenet_v2", "--weights", weights, "--image-size", "96", "--pooling", "weldon(k_max=0.2)"]
    train = ["--data", voc, "--train-split", "val", "--val-split", "None", "--epochs", "1", "--lr", "0.01"]
    assert cli.train([*train, *model, *mode, "--no-flip", "--out", run]) == 0
    (epoch,) = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert 0 < json.loads(epoch)["loss"] < 1

    photos = str(small_voc / "JPEGImages" / "2008_000[0-5]*.jpg")
    assert cli.localize([photos, "--weights", run, "--out", found, "--top-k", "None", "--maps"]) == 0
    lines = (tmp_path / "found" / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert all(len(json.loads(line)["scores"]) == 20 for line in lines)

    assert cli.evaluate(["--weights", run, "--data", voc, "--out", found, "--metrics", "mAP", "pointing"]) == 0
    metrics = json.loads((tmp_path / "found" / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["pointing (pairs)"]["note"].startswith("(image, class) pairs")
    assert sum(metrics["pointing"]["counts"].values()) == 235
    assert metrics["mAP"]["value"] > metrics["mAP"]["baseline"]

    pictures = ["--predictions", found, "--data", voc, "--limit", "8", "--file-format", "pdf", "--per-class"]
    assert cli.visualize([*pictures, "--out", str(tmp_path / "pictures")]) == 0
    assert (tmp_path / "pictures" / "sheet.pdf").read_bytes().startswith(b"%PDF")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.long
def test_coco_from_labels_to_coco_ap(realdata, tmp_path):
    coco, run = str(realdata / "coco2017_subset"), str(tmp_path / "run")
    weights = str(realdata / "weights" / "squeezenet1_0-deepcompression-fp16.pth")
    flags = ["--backbone", "squeezenet1_0", "--weights", weights, "--image-size", "96", "--freeze-backbone"]
    splits = ["--train-split", "train2017", "--val-split", "val2017", "--epochs", "2", "--no-flip"]
    assert cli.train(["--data", coco, *splits, *flags, "--out", run]) == 0
    assert cli.evaluate(["--weights", run, "--data", coco, "--split", "val2017", "--out", run]) == 0
    metrics = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    assert sum(metrics["COCO AP"]["counts"].values()) == 898
