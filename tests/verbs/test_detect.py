"""`wsl-train --detect` and `--detector RUN`: a box detector for a run with a decoder, used by the other commands."""

import json
import shutil

import numpy as np
import pytest
import torch

from wsl import Predictor, UserError, cli
from wsl.config import DataConfig, DecodeConfig, DecoderConfig, DetectConfig, DetectorConfig, RuntimeConfig, TrainConfig
from wsl.inference.views import View
from wsl.models import OnnxLocalizer, export_model, load, pack, unpack
from wsl.training import detector_rounds
from wsl.training.features import FeatureCache
from wsl.verbs.finished import decode, detect

RUNTIME = RuntimeConfig(device="cpu", precision="fp32", workers=0)
DETECTING = DetectorConfig(detect=True, detector_rounds=2, detector_epochs=2, detector_batch_size=8, detector_lr=0.01)
PLAIN = {"classes": ("blue", "red"), "device": "cpu", "precision": "fp32"}


def config(run, **settings) -> DetectConfig:
    return DetectConfig(**{"run": run, "detecting": DETECTING, "runtime": RUNTIME, **settings})


@pytest.fixture
def copied(decoded, tmp_path):
    """The run with a map decoder, to be changed."""
    return shutil.copytree(decoded, tmp_path / "run")


@pytest.fixture(scope="session")
def detected(decoded, tmp_path_factory):
    """The run with a map decoder and a detector."""
    out = shutil.copytree(decoded, tmp_path_factory.mktemp("detected") / "run")
    result = detect(config(out))
    assert (result.model, result.rounds, result.skipped) == (out / "model.safetensors", 2, 0)
    return out


def test_scores_maps_and_points_stay_what_they_were(decoded, detected, photos):
    before, after = load(decoded).state_dict(), load(detected).state_dict()
    assert {name for name in after if not name.startswith("detector.")} == set(before)
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    written = json.loads((detected / "config.json").read_text(encoding="utf-8"))
    assert written["detecting"]["detect"]
    assert not [path for path in (detected / "last").iterdir() if path.name.startswith(("detector", "mosaics"))]
    old, new = (Predictor(load(run), **PLAIN)(photos / "val00.png") for run in (decoded, detected))
    assert (new.scores, new.points) == (old.scores, old.points)
    assert all(np.array_equal(new.maps[label], old.maps[label]) for label in old.maps)


def test_the_decoder_may_have_been_added_in_python(run, decoded, tmp_path):
    """The run's settings do not tell of it, and are told of both."""
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.copy(decoded / "model.safetensors", folder)
    detect(config(folder, detecting=DetectorConfig(detector_rounds=1, detector_epochs=1)))
    assert load(folder).detects
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (written["decoding"]["decode"], written["detecting"]["detect"]) == (True, True)


def test_a_run_without_flips_has_parts_that_saw_no_mirror_image(run, tmp_path, monkeypatch):
    """An arrow to the left is no arrow to the right, and a mirrored 2 is nothing."""
    folder = shutil.copytree(run, tmp_path / "run")
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert written["optim"]["flip"]
    written["optim"]["flip"] = False
    (folder / "config.json").write_text(json.dumps(written), encoding="utf-8")
    seen, batches, learn = [], [], detector_rounds.train_detector
    of, compute = View.of, FeatureCache._compute

    def watched(detector, scenes, *args, **kwargs):
        batches.extend(part for item in scenes.items for scene in item for part in scene.parts)
        return learn(detector, scenes, *args, **kwargs)

    monkeypatch.setattr(View, "of", lambda view, images: seen.append(view.mirrored) or of(view, images))
    monkeypatch.setattr(
        FeatureCache,
        "_compute",
        lambda self, samples, mirrored, paths: seen.append(mirrored) or compute(self, samples, mirrored, paths),
    )
    monkeypatch.setattr(detector_rounds, "train_detector", watched)
    decode(DecodeConfig(run=folder, decoding=DecoderConfig(decoder_rounds=2, decoder_epochs=1), runtime=RUNTIME))
    detect(config(folder, detecting=DetectorConfig(detector_rounds=1, detector_epochs=1)))
    assert seen
    assert not any(seen)
    assert len(batches) > 48  # mosaics are among them
    assert not any(part.mirrored for part in batches)
    detect(config(folder, detecting=DetectorConfig(detector_rounds=1, detector_epochs=1), flip=True))
    assert any(seen)


def test_boxes_are_fused_with_those_of_the_maps(decoded, detected, photos):
    """Unless nobody wants that, or maps are not the decoder's."""
    model = load(detected)
    image = photos / "val02.png"
    drawn = Predictor(load(decoded), **PLAIN)(image).boxes
    fused = Predictor(model, **PLAIN)(image).boxes
    assert not np.array_equal(fused.xyxy, drawn.xyxy)
    assert np.array_equal(Predictor(model, detector=False, **PLAIN)(image).boxes.xyxy, drawn.xyxy)
    others = [Predictor(one, refine="affinity", **PLAIN)(image).boxes.xyxy for one in (model, load(decoded))]
    assert np.array_equal(*others)
    # A thing that both see is one box.
    assert (fused.of("blue").scores <= load_score(decoded, image)).all()


def load_score(run, image) -> float:
    return Predictor(load(run), **PLAIN)(image).scores["blue"]


def test_views_and_batches_of_any_size_find_the_same(detected, photos):
    """Each image of a batch has its own boxes, and a mirrored image the mirrored ones."""
    predictor = Predictor(load(detected), tta=["flip"], **PLAIN)
    paths = sorted(photos.glob("val*"))[:5]
    for alone, one in zip((predictor(path) for path in paths), predictor(paths), strict=True):
        assert alone.boxes.labels == one.boxes.labels
        np.testing.assert_allclose(alone.boxes.xyxy, one.boxes.xyxy, atol=0.01)
    image = np.full((64, 80, 3), 120, np.uint8)
    image[20:36, 10:26] = (40, 60, 230)
    boxes, mirrored = (predictor(np.ascontiguousarray(one)).boxes.of("blue") for one in (image, image[:, ::-1]))
    flipped = mirrored.xyxy[0][[2, 1, 0, 3]] * [-1, 1, -1, 1] + [80, 0, 80, 0]
    # The walk of the maps follows the features of the first view only.
    np.testing.assert_allclose(boxes.xyxy[0], flipped, atol=1)


def test_the_commands_use_it(detected, world, photos, tmp_path, capsys):
    """It is said how boxes are made, and what is exported and evaluated are those boxes."""
    flags = ["--weights", str(detected), "--device", "cpu", "--precision", "fp32"]
    out = tmp_path / "found"
    assert cli.localize([str(photos), *flags, "--out", str(out), "--top-k", "2", "--maps"]) == 0
    assert "detector" in capsys.readouterr().out
    assert json.loads((out / "localize.json").read_text(encoding="utf-8"))["boxes"]["detector"]
    assert cli.export([str(out), "--format", "coco-results", "--out", str(tmp_path / "coco")]) == 0
    lines = (out / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
    boxes = sum(len(json.loads(line)["boxes"]) for line in lines)
    assert len(json.loads((tmp_path / "coco" / "results.json").read_text(encoding="utf-8"))) == boxes
    reports = {}
    for name, more in (("fused", []), ("maps", ["--no-detector"])):
        assert cli.evaluate(["--data", str(world), *flags, *more, "--out", str(tmp_path / name)]) == 0
        reports[name] = json.loads((tmp_path / name / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    assert reports["fused"]["AP50"] != reports["maps"]["AP50"]
    assert reports["fused"]["MaxBoxAcc@0.5"]["value"] == reports["maps"]["MaxBoxAcc@0.5"]["value"]


def test_a_stopped_training_goes_on_after_its_last_finished_round(detected, copied, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    train = detector_rounds.train_detector
    steps = iter([train, stop])
    with monkeypatch.context() as patch:
        patch.setattr(detector_rounds, "train_detector", lambda *args, **kwargs: next(steps)(*args, **kwargs))
        with pytest.raises(KeyboardInterrupt):
            detect(config(copied))
    assert not load(copied).detects
    calls = []
    monkeypatch.setattr(detector_rounds, "train_detector", lambda *args, **kw: calls.append(1) or train(*args, **kw))
    detect(config(copied))
    assert len(calls) == 1
    assert (copied / "model.safetensors").read_bytes() == (detected / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.long), "packed"])
def test_it_travels_with_its_model(detected, photos, tmp_path, kind):
    model = load(detected)
    if kind == "packed":
        other = unpack(pack(model))
    else:
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
        export_model(model, tmp_path / "model.onnx", "onnx")
        other = OnnxLocalizer(tmp_path / "model.onnx")
    assert other.detects
    # An ONNX file shows no features for the walk: the decoder's maps as they are, and the same detections.
    images, wanted = torch.rand(2, 3, 64, 96), torch.tensor([[1], [0]])
    outputs = [one.for_inference(torch.device("cpu"), torch.float32)(images, taps=True) for one in (model, other)]
    mine, its = (output.detected(wanted) for output in outputs)
    torch.testing.assert_close(mine.scores, its.scores, atol=1e-4, rtol=1e-4)
    assert Predictor(other, **PLAIN)(photos / "val00.png").boxes.labels


def test_runs_without_a_decoder_have_none(run, tmp_path, capsys):
    assert cli.train(["--detector", str(run)]) == 2
    assert "no map decoder" in capsys.readouterr().err
    assert cli.train(["--detector", str(run), "--out", str(tmp_path)]) == 2
    assert "cannot be combined with settings of out" in capsys.readouterr().err
    with pytest.raises(UserError, match="expected --decode with it"):
        TrainConfig(data=DataConfig(data=tmp_path), out=tmp_path, detecting=DetectorConfig(detect=True))


def test_unreadable_images_are_left_out_and_one_is_enough(copied, world, tmp_path, caplog):
    """Without a photograph of one class of which all is known there are no mosaics."""
    broken, table = tmp_path / "broken.png", tmp_path / "labels.csv"
    broken.write_bytes(b"no image")
    table.write_text(f"path,blue,red\n{world / 'JPEGImages' / 'train02.png'},1,1\n{broken},0,1\n", encoding="utf-8")
    result = detect(config(copied, data=DataConfig(data=table), train_split="all"))
    assert result.skipped == 1
    assert caplog.text.count("broken.png") == 1
    assert all(bool(tensor.isfinite().all()) for tensor in load(copied).state_dict().values())


@pytest.mark.long
def test_a_small_cache_trains_on_a_part(copied, caplog):
    """Each image takes 64 px / 4 and / 8 cells of 48 and 128 channels, 2 bytes each, in two views and half a mosaic."""
    size = 2 * 2 * (48 * 16 * 16 + 128 * 8 * 8)
    few = DetectorConfig(detector_epochs=1, detector_mosaics=1, detector_cache=1.5 * 20.5 * size / 1e9)
    detect(config(copied, detecting=few))
    assert "the detector is trained on 20 of 48 images" in caplog.text
