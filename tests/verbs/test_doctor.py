"""`wsl-doctor`: each symptom in an image or a model that has it, and none where all is well."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import BoxConfig, DoctorConfig, LocalizeConfig, Preprocessing, RuntimeConfig
from wsl.diagnosis import CHECKS, Evidence, findings
from wsl.diagnosis.examine import decode, examine
from wsl.diagnosis.failures import short_of_memory
from wsl.errors import DownloadError, UserError
from wsl.inference.opening import OpenedModel
from wsl.models import Localizer
from wsl.results import BoxOrigin, Localization
from wsl.verbs import doctor as verb
from wsl.verbs.doctor import doctor

PAGE = Path(__file__).parents[2] / "wsl" / "TROUBLESHOOTING.md"


class Redness(nn.Module):
    """A network that knows red from blue: class maps are the colour of cells of 8 pixels, scores their means."""

    def __init__(self, gain: float = 40.0, offset: float = 0.0) -> None:
        super().__init__()
        self.cells = nn.Sequential(nn.AvgPool2d(8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(3, 2)
        with torch.no_grad():
            self.classify.weight.copy_(torch.tensor([[gain, 0, -gain], [-gain, 0, gain]]))
            self.classify.bias.fill_(offset)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.pool(self.cells(images)).flatten(1))


def opened(net: nn.Module | None = None, side: int = 64, box_rule: str = "largest", threshold: float = 0.3):
    preprocessing = Preprocessing(image_size=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    model = Localizer.from_classifier(net or Redness(), classes=["red", "blue"], preprocessing=preprocessing).eval()
    config = LocalizeConfig(
        sources=("a.png",),
        weights="redness",
        out=Path("found"),
        runtime=RuntimeConfig(device="cpu", precision="fp32"),
    )
    boxes = BoxConfig(threshold=threshold, box_rule=box_rule, min_area=0.001)
    return OpenedModel(config, model, "none", boxes, BoxOrigin(origin="given"))


def painted(folder: Path, *red: tuple[int, int, int, int], size=(64, 64), below=(20, 20, 20)) -> Path:
    """A picture with red rectangles (x0, y0, x1, y1)."""
    image = np.full((size[1], size[0], 3), below, np.uint8)
    for x0, y0, x1, y1 in red:
        image[y0:y1, x0:x1] = (250, 20, 20)
    path = folder / "a.png"
    Image.fromarray(image).save(path)
    return path


def symptoms(model: OpenedModel, path: Path, label: str = "") -> list[str]:
    return [finding.symptom for finding in findings(examine(model, decode(path), path, label))]


def test_nothing_is_wrong_with_a_thing_that_is_found(tmp_path):
    path = painted(tmp_path, (8, 8, 40, 40))
    evidence = examine(opened(), decode(path), path)
    assert findings(evidence) == ()
    assert evidence.label == "red"
    assert evidence.exclusive
    assert evidence.hidden.hottest < evidence.hidden.nothing < evidence.hidden.coldest + 1e-6
    assert evidence.seen.pixels.shape == (64, 64, 3)
    assert abs(int(evidence.seen.pixels[20, 20, 0]) - 250) <= 1
    assert evidence.above(0.99).share < evidence.above(0.01).share


def test_a_picture_of_nearly_one_value_and_one_of_twelve_bits(tmp_path):
    path = painted(tmp_path, below=(100, 101, 102))
    assert symptoms(opened(), path)[0] == "Flat picture"
    deep = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)).save(deep)
    first = findings(examine(opened(), decode(deep), deep))[0]
    assert first.symptom == "Flat picture"
    assert "16 bits" in first.do


def test_random_weights_score_all_classes_alike(tmp_path):
    path = painted(tmp_path, (8, 8, 40, 40))
    assert symptoms(opened(Redness(gain=0.01)), path)[0] == "All scores alike"
    many = {f"class {number}": (1 + number / 1000) / 1500 for number in range(1000)}
    assert findings(Evidence(image=path, scores=many))[0].symptom == "All scores alike"


@pytest.mark.parametrize(
    ("scores", "expected"), [({"a": 0.02, "b": 0.01}, ["All scores alike"]), ({"a": 0.99, "b": 0.98}, [])]
)
def test_classes_scored_on_their_own_may_all_be_absent_or_present(scores, expected):
    evidence = Evidence(image=Path("a.jpg"), scores=scores, exclusive=False)
    assert [finding.symptom for finding in findings(evidence)] == expected


def test_a_class_that_is_not_there_is_unlikely(tmp_path):
    path = painted(tmp_path, (8, 8, 40, 40))
    evidence = examine(opened(), decode(path), path, "blue")
    first = findings(evidence)[0]
    assert (first.symptom, first.flags) == ("Unlikely class", ("--label", "red"))


def with_map(score_map, size=(64, 64), boxes: Boxes | None = None, **others) -> Evidence:
    score_map = np.asarray(score_map, np.float32)
    found = Localization(
        path="a.png", size=size, scores={"red": 0.9}, boxes=boxes or Boxes.empty(), maps={"red": score_map}
    )
    return Evidence(image=Path("a.png"), label="red", raw=score_map, found=found, **others)


def test_a_blank_map_by_its_cause():
    blank = findings(with_map(np.zeros((7, 7)), method="by gradcam of layer4"))
    assert [finding.symptom for finding in blank] == ["Blank map"]
    assert blank[0].flags == ("--cam", "gradcam(relu=false)")
    assert "wsl-info" in findings(with_map(np.full((7, 7), 3.0)))[0].do
    lost = np.eye(7)
    lost[3, 2] = np.nan
    assert findings(with_map(lost, arithmetic="float16"))[0].flags == ("--precision", "fp32")
    assert "damaged" in findings(with_map(lost))[0].do


def test_damaged_weights_give_a_blank_map(tmp_path):
    net = Redness()
    path = painted(tmp_path, (8, 8, 40, 40))
    model = opened(net)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.fill_(float("nan"))
    assert symptoms(model, path)[0] == "Blank map"


class Swapped:
    """A model whose maps are those of the opposite sign."""

    def __init__(self, model) -> None:
        self.classes, self.preprocessing, self.levels = model.classes, model.preprocessing, 0
        self.decodes = self.detects = False
        self._model = model

    def for_inference(self, device, dtype):
        ready = self._model.for_inference(device, dtype)

        class Ready:
            probabilities = staticmethod(ready.probabilities)

            def __call__(self, images, *, taps=False):
                output = ready(images, taps=taps)
                return output._replace(maps_of=lambda classes: -output.maps_of(classes))

        return Ready()


def test_a_map_of_the_opposite_sign_is_inverted(tmp_path):
    path, right = painted(tmp_path, (8, 8, 40, 40)), opened()
    wrong = OpenedModel(right.config, Swapped(right.model), "none", right.boxes, right.origin)
    assert "Inverted map" in symptoms(wrong, path)
    assert "Inverted map" not in symptoms(right, path)


def test_a_map_that_is_hot_everywhere_by_its_cause():
    wide = np.full((16, 16), 10.0)
    wide[0] = 0
    assert findings(with_map(wide))[0].flags[0] == "--threshold"
    assert findings(with_map(wide, refine="affinity"))[0].flags == ("--refine", "none")
    slight = np.full((16, 16), 10.0)
    slight[0] = 9.9
    assert "little contrast" in findings(with_map(slight))[0].what


def test_an_image_that_is_red_all_over(tmp_path):
    path = painted(tmp_path, (0, 0, 64, 56))
    evidence = examine(opened(side=32), decode(path), path)
    first = findings(evidence)[0]
    assert (first.symptom, first.flags) == ("Everything red", ("--image-size", "64"))


def test_two_things_in_one_box(tmp_path):
    path = painted(tmp_path, (0, 0, 24, 24), (40, 40, 64, 64))
    assert symptoms(opened(), path) == ["Box around two animals"]
    assert symptoms(opened(box_rule="all"), path) == []
    assert symptoms(opened(), painted(tmp_path, (0, 0, 24, 24))) == []


def test_a_box_of_one_cell_is_small(tmp_path):
    path = painted(tmp_path, (64, 64, 72, 72), size=(128, 128))
    evidence = examine(opened(Redness(gain=400), side=128), decode(path), path)
    assert [finding.symptom for finding in findings(evidence)] == ["Box too small"]
    none = findings(with_map(np.eye(9), boxes=Boxes.empty()))
    assert none[-1].what.startswith("no component")


@pytest.mark.parametrize(("size", "word"), [((200, 40), "squashed"), ((16, 16), "enlarged")])
def test_an_input_that_is_squashed_or_enlarged(tmp_path, size, word):
    width, height = size
    path = painted(tmp_path, (width // 8, height // 8, width // 2, height // 2), size=size)
    last = findings(examine(opened(), decode(path), path))[-1]
    assert last.symptom == "Distorted input"
    assert word in last.what


@pytest.mark.parametrize(
    ("seconds", "others", "flags"),
    [
        ({"decoding": 0.1, "the network": 0.2}, {}, None),
        ({"the network": 1.0, "refinement": 5.0}, {"refine": "grabcut"}, ("--refine", "none")),
        ({"the network": 9.0}, {"method": "by scorecam of layer4"}, ("--cam", "layercam")),
        ({"the network": 9.0}, {"accelerated": True}, ("--device", "auto")),
        ({"decoding": 3.0, "the network": 1.0}, {}, ()),
    ],
)
def test_what_is_slow_is_named(seconds, others, flags):
    found = findings(Evidence(image=Path("a.jpg"), seconds=seconds, **others))
    assert [finding.flags for finding in found] == ([] if flags is None else [flags])


def test_memory_that_does_not_suffice_is_a_finding(tmp_path, monkeypatch):
    path, model = painted(tmp_path, (8, 8, 40, 40)), opened()
    monkeypatch.setattr(
        "wsl.inference.predictor.Predictor.predict",
        lambda *_: (_ for _ in ()).throw(RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")),
    )
    first = findings(examine(model, decode(path), path))[0]
    assert (first.symptom, first.flags) == ("Out of memory", ("--image-size", "32"))
    assert short_of_memory(MemoryError())
    assert not short_of_memory(RuntimeError("shapes differ"))


def test_the_command_says_it_and_draws(run, photos, tmp_path, capsys):
    out = tmp_path / "look"
    flags = [str(photos / "val00.png"), "--weights", str(run), "--out", str(out), "--device", "cpu"]
    assert cli.doctor(flags) == 0
    text = capsys.readouterr().out
    assert "PNG, mode RGB, 80 x 64 pixels, EXIF orientation 1" in text
    assert re.search(r"map +of blue: \d+ x \d+ cells, .* highest at x", text)
    assert "used, rule largest" in text
    height, width = cv2.imread(str(out / "thresholds.png")).shape[:2]
    assert width > 4 * height
    assert cv2.imread(str(out / "input.png")).shape == (64, 64, 3)
    assert cli.doctor([*flags, "--json", "--label", "red"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["label"] == "red"
    assert set(record["findings"][0]) == {"symptom", "what", "do", "flags"}


def test_an_image_turned_by_its_orientation_is_described_as_it_is_seen(run, tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 80, 3)).astype(np.uint8)).save(
        tmp_path / "a.jpg", exif=exif
    )
    assert cli.doctor([str(tmp_path / "a.jpg"), "--weights", str(run), "--out", str(tmp_path / "look")]) == 0
    assert "40 x 80 pixels, EXIF orientation 6 (turned clockwise)" in capsys.readouterr().out


def test_files_that_cannot_be_read_or_fetched_are_findings(run, tmp_path, monkeypatch):
    damaged = tmp_path / "a.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 and nothing else")
    diagnosis = doctor(damaged, weights=str(run), out=tmp_path / "look")
    assert [finding.symptom for finding in diagnosis.findings] == ["Unreadable image"]
    assert not (tmp_path / "look").exists()

    def offline(*_):
        raise DownloadError("weights of resnet18 could not be downloaded")

    monkeypatch.setattr(OpenedModel, "open", offline)
    diagnosis = verb.doctor(
        DoctorConfig(image=painted(tmp_path, (8, 8, 40, 40)), weights="resnet18", out=tmp_path / "look")
    )
    assert diagnosis.findings[0].symptom == "Download fails"
    assert "--local-weights FILE" in str(diagnosis)
    with pytest.raises(UserError, match="no class 'green'"):
        doctor(damaged, weights=str(run), label="green")
    with pytest.raises(UserError, match=r"lost\.png: no such file"):
        doctor("lost.png", weights=str(run))


def test_scores_that_are_no_numbers_are_null_for_machines():
    evidence = Evidence(image=Path("a.png"), scores={"cat": float("nan"), "dog": 0.5})
    config = DoctorConfig(image=Path("a.png"), weights="w")
    diagnosis = verb.Diagnosis(config=config, evidence=evidence, findings=findings(evidence))
    assert json.loads(json.dumps(diagnosis.to_json(), allow_nan=False))["scores"] == {"cat": None, "dog": 0.5}
    assert [finding.symptom for finding in diagnosis.findings] == ["Blank map"]


def test_every_symptom_has_its_section_on_the_page():
    headings = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    room = Path(PAGE.parent, "diagnosis")
    named = {
        name
        for file in room.glob("*.py")
        for name in re.findall(r'Finding\(\s*"([^"]+)"', file.read_text(encoding="utf-8"))
    }
    assert len(named) > len(CHECKS) - 3
    assert {name for name in named if not any(heading.startswith(name) for heading in headings)} == set()


def test_a_folder_is_a_mistake_and_no_finding(tmp_path):
    with pytest.raises(UserError, match="is a folder, expected one of its images"):
        doctor(tmp_path, weights="resnet50")
