"""`wsl-evaluate --faithfulness`: rows whose values can be worked out by hand, and what the command says of them."""

import json

import cv2
import numpy as np
import pytest
import torch

from wsl import cli, models
from wsl.config import DataConfig, EvaluateConfig, Preprocessing, RuntimeConfig
from wsl.errors import UserError
from wsl.models import LazyOutput
from wsl.verbs.evaluate import evaluate

NAMES = ["insertion", "deletion", "average drop", "increase in confidence"]
CPU = RuntimeConfig(device="cpu", precision="fp32")
SIDE = 32


class Corner:
    """A model that is the brightness of one part of its input, and maps that show that part or all the others.

    It has only what `wsl.models.Model` asks for: no module, no weights. Black is where the normalised image is 0.
    """

    classes = ("dark", "bright")
    levels = 0
    decodes = False
    detects = False

    def __init__(self, rows, columns, *, right=True, resize="warp"):
        self.preprocessing = Preprocessing(image_size=SIDE, resize=resize, mean=(0, 0, 0), std=(1, 1, 1))
        self.part = torch.zeros(SIDE, SIDE)
        self.part[rows, columns] = 1
        self.map = self.part if right else 1 - self.part

    def for_inference(self, device, dtype):
        return self

    def __call__(self, images, *, taps=False):
        assert images.shape[1:] == (3, SIDE, SIDE)
        bright = (images.mean(1) * self.part).sum((1, 2)) / self.part.sum()
        return LazyOutput(torch.stack([1 - bright, bright], 1), lambda classes: self.map.expand(*classes.shape, -1, -1))

    def probabilities(self, scores):
        return scores.double().clamp(0, 1)


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """The rows of a model on one image whose upper left quarter is white and the rest black."""

    def rows(model, size=(32, 32), *, data=None, **options):
        if data is None:
            data = tmp_path / "photos"
            (data / "bright").mkdir(parents=True)
            image = np.zeros((size[1], size[0], 3), np.uint8)
            image[: size[1] // 2, : size[0] // 2] = 255
            cv2.imwrite(str(data / "bright" / "a.png"), image)
        monkeypatch.setattr(models, "open_model", lambda *_, **__: model)
        report = evaluate(
            EvaluateConfig(
                data=DataConfig(data=data),
                split="all",
                out=tmp_path / "out",
                weights="resnet18",
                faithfulness=1,
                faithfulness_steps=16,
                runtime=CPU,
                **options,
            )
        )
        return {metric.name: metric for metric in report.metrics if metric.name in NAMES}

    return rows


UPPER_LEFT = (slice(0, 16), slice(0, 16))
# An image of 32 x 16 lies in rows 8 to 23 of a letterbox, so that its upper left quarter are these.
LETTERBOXED = (slice(8, 16), slice(0, 16))
PLACES = [("warp", (32, 32), UPPER_LEFT), ("warp", (64, 32), UPPER_LEFT), ("letterbox", (32, 16), LETTERBOXED)]


@pytest.mark.parametrize(("resize", "size", "part"), PLACES)
def test_a_map_of_what_the_model_looks_at(evaluated, resize, size, part):
    """The first quarter of the pixels is all: gone after four of 16 steps, a straight line from 1 to 0."""
    rows = evaluated(Corner(*part, resize=resize), size)
    assert list(rows) == NAMES
    assert rows["deletion"].value == pytest.approx(1 / 8)
    assert rows["insertion"].value > 7 / 8  # it starts with the blurred image, which is not black
    assert rows["average drop"].value == 0
    assert rows["increase in confidence"].value == 0
    assert rows["deletion"].value < rows["deletion"].baseline
    assert rows["average drop"].value < rows["average drop"].baseline


@pytest.mark.parametrize(("resize", "size", "part"), PLACES)
def test_a_map_of_everything_else(evaluated, resize, size, part):
    """Padding has no share: of 12 steps nothing comes of it, and the last four do all."""
    right = evaluated(Corner(*part, resize=resize, right=False), size)
    assert right["deletion"].value == pytest.approx(7 / 8)
    assert right["average drop"].value == 1
    # Until the last quarter the corner stays as blurred as it was: p for 3/4, then from p to 1.
    image = np.zeros((SIDE if resize == "warp" else SIDE // 2, SIDE), np.float32)
    image[: len(image) // 2, :16] = 1
    blurred = cv2.GaussianBlur(image, (11, 11), 5, borderType=cv2.BORDER_CONSTANT)
    start = blurred[: len(image) // 2, :16].mean()
    assert right["insertion"].value == pytest.approx(start * 3 / 4 + (start + 1) / 8, abs=1e-4)


def test_a_model_more_certain_of_what_its_map_shows(evaluated):
    class Doubtful(Corner):
        """The brightness of the part counts half, the darkness of the rest the other half."""

        def __call__(self, images, *, taps=False):
            output = super().__call__(images)
            rest = (images.mean(1) * (1 - self.part)).sum((1, 2)) / (1 - self.part).sum()
            bright = (output.scores[:, 1] + 1 - rest) / 2
            return output._replace(scores=torch.stack([1 - bright, bright], 1))

    part = (slice(0, 8), slice(0, 16))  # of the white quarter only the upper half
    rows = evaluated(Doubtful(*part))
    assert rows["increase in confidence"].value == 1
    assert rows["average drop"].value == 0


def config(world, out, run, **options):
    options = {"weights": str(run), "faithfulness": 5, "faithfulness_steps": 4, **options}
    return EvaluateConfig(data=DataConfig(data=world), out=out, runtime=CPU, **options)


def rows_of(report):
    return {metric.name: metric for metric in report.metrics if metric.name in NAMES}


@pytest.fixture(scope="module")
def whole(world, run, tmp_path_factory):
    """All 16 validation images, and the folder of the report."""
    out = tmp_path_factory.mktemp("whole")
    return rows_of(evaluate(config(world, out, run, faithfulness=1000))), out


def test_a_trained_models_maps_beat_the_centre(whole):
    rows, out = whole
    assert rows["insertion"].value > rows["insertion"].baseline
    assert rows["deletion"].value < rows["deletion"].baseline
    assert rows["average drop"].value < rows["average drop"].baseline
    for metric in rows.values():
        assert metric.counts == {"blue": 11, "red": 10}
        assert metric.interval[0] <= metric.value <= metric.interval[1]
    assert rows["insertion"].note == "(image, class) pairs; 4 steps; 16 of 16 labelled images"
    assert rows["average drop"].note == "(image, class) pairs; 16 of 16 labelled images"
    saved = json.loads((out / "evaluation.json").read_text())["metrics"]
    for name, metric in rows.items():
        assert (saved[name]["value"], saved[name]["baseline"]) == (metric.value, metric.baseline)
        assert saved[name]["interval"] == list(metric.interval)
        assert f"| {name} " in (out / "evaluation.md").read_text()
    assert json.loads((out / "seconds.json").read_text())["faithfulness"] > 0


def test_some_images_are_spread_evenly_and_always_the_same(world, run, tmp_path):
    one, other = (evaluate(config(world, tmp_path / name, run)) for name in "ab")
    assert rows_of(one)["insertion"].note.endswith("5 of 16 labelled images, spread evenly")
    # Of 0 to 15 these are 1, 4, 8, 11 and 14: red, red, and three times both.
    assert rows_of(one)["insertion"].counts == {"blue": 3, "red": 5}
    assert (tmp_path / "a" / "evaluation.json").read_bytes() == (tmp_path / "b" / "evaluation.json").read_bytes()
    assert rows_of(one) == rows_of(other)


def test_nothing_is_asked_unless_it_is_wanted(world, run, tmp_path):
    report = evaluate(EvaluateConfig(data=DataConfig(data=world), out=tmp_path, runtime=CPU, weights=str(run)))
    assert rows_of(report) == {}
    assert "faithfulness" not in report.seconds


def test_an_image_that_cannot_be_read_is_left_out_and_told(world, run, tmp_path, whole):
    broken = world / "JPEGImages" / "val03.png"  # blue alone
    content = broken.read_bytes()
    try:
        broken.write_bytes(b"")
        rows = rows_of(evaluate(config(world, tmp_path, run, faithfulness=16)))
    finally:
        broken.write_bytes(content)
    assert rows["insertion"].note.endswith("15 of 16 labelled images (1 more could not be read)")
    assert rows["insertion"].counts == {"blue": 10, "red": 10}
    assert rows["insertion"].per_class["red"] == whole[0]["insertion"].per_class["red"]


@pytest.mark.long
def test_an_onnx_file_answers_as_the_model_that_it_was_made_of(world, run, tmp_path, whole):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="ONNX is not installed: pip install 'wsl-toolkit[onnx]'")
    file = tmp_path / "model.onnx"
    assert cli.export([str(run), "--format", "onnx", "--out", str(file)]) == 0
    by_file = rows_of(evaluate(config(world, tmp_path / "file", file, faithfulness=16)))
    by_run = rows_of(evaluate(config(world, tmp_path / "run", run, faithfulness=16, refine="none")))
    for name, metric in by_run.items():
        assert by_file[name].per_class == pytest.approx(metric.per_class, abs=1e-3), name


def test_the_maps_that_are_asked_about_are_the_refined_ones(world, run, tmp_path, whole):
    refined = rows_of(evaluate(config(world, tmp_path, run, faithfulness=16, refine="affinity")))
    assert refined["deletion"].value != whole[0]["deletion"].value
    assert refined["deletion"].baseline == pytest.approx(whole[0]["deletion"].baseline)


def test_classes_to_report(world, run, tmp_path, whole):
    rows = rows_of(evaluate(config(world, tmp_path, run, faithfulness=16, report_classes=("red",))))
    assert rows["insertion"].value == whole[0]["insertion"].per_class["red"]


@pytest.mark.parametrize("table", ["markdown", "latex", "csv"])
@pytest.mark.quick("table", ["markdown"])
def test_rows_are_printed(world, run, tmp_path, capsys, table):
    flags = ["--data", str(world), "--weights", str(run), "--out", str(tmp_path), "--device", "cpu", "--table", table]
    assert cli.evaluate([*flags, "--faithfulness", "2", "--faithfulness-steps", "4"]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        assert sum(line.lstrip("| ").startswith(name) for line in printed.splitlines()) == 1
    assert "2 of 16 labelled images, spread evenly" in printed


def test_a_split_without_labels_is_refused(world, photos, run, tmp_path):
    table = tmp_path / "none.csv"
    table.write_text(f"path,blue,red\n{photos / 'val00.png'},0,0\n", encoding="utf-8")
    with pytest.raises(UserError, match="split all has a label: expected labelled images for --faithfulness"):
        evaluate(config(table, tmp_path / "out", run, split="all"))


def test_a_model_that_gives_no_probabilities_is_told(evaluated):
    class Wild(Corner):
        def probabilities(self, scores):
            return scores.double() * 3

    with pytest.raises(UserError, match="expected probabilities"):
        evaluated(Wild(*UPPER_LEFT))
