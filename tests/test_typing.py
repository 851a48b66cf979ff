"""What a user's type checker learns from wsl, whose `py.typed` says that it may."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
ROOT = Path(__file__).parents[1]
SCRIPT = """
from pathlib import Path
import wsl

model = wsl.Localizer("resnet50", num_classes=20, pooling="weldon(k_max=0.2, k_min=0.2)")
predictor = wsl.Predictor(model, top_k=3, refine="affinity")
found = predictor("photo.jpg")
data = wsl.config.DataConfig(data=Path("VOC"))
training = wsl.config.TrainConfig(data=data, out=Path("runs/gap"))
evaluation = wsl.config.EvaluateConfig(data=data, out=Path("found"), predictions=Path("found"))
reveal_type(model)
reveal_type(wsl.load("runs/gap"))
reveal_type(found)
reveal_type(predictor(["photo.jpg"]))
reveal_type(found.boxes.xyxy)
reveal_type(found.boxes.labels)
reveal_type(found.scores["dog"])
reveal_type(wsl.train(training))
reveal_type(wsl.evaluate(evaluation).metrics[0].value)
reveal_type(evaluation.split)
"""
EXPECTED = [
    "wsl.models.localizer.Localizer",
    "wsl.models.localizer.Localizer",
    "wsl.results.Localization",
    "list[wsl.results.Localization]",
    "numpy.ndarray of numpy.floating",  # whose shape and precision numpy spells differently from version to version
    "tuple[str, ...]",
    "float",
    "wsl.verbs.train.TrainResult",
    "float | None",
    "str",
]
STREAMS = """
import wsl

model = wsl.load("runs/gap")
for one in wsl.Predictor(model).stream("photos/"):
    reveal_type(one)
for one in wsl.localize(model, "photos/", top_k=2):
    reveal_type(one)
"""
# Only our own types are looked at; without those of the libraries a check takes seconds and not minutes.
CONFIG = """
[mypy]
strict = True
[mypy-torch.*,torchmetrics.*,matplotlib.*,PIL.*]
follow_imports = skip
[mypy-torchvision.*,pycocotools.*]
ignore_missing_imports = True
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Revealed types and errors of a script that finds wsl as an installed package."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "mypy.ini").write_text(CONFIG, encoding="utf-8")

    def check(script: str) -> tuple[list[str], list[str]]:
        (folder / "script.py").write_text(script, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "script.py"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return re.findall(r'Revealed type is "(.*)"', ended.stdout), re.findall(r"error: (.*)", ended.stdout)

    return check


@pytest.mark.long
def test_a_script_of_a_user_is_typed_throughout(check):
    types, errors = check(SCRIPT)
    assert errors == []
    plain = [one.replace("builtins.", "").replace("Union[float, None]", "float | None") for one in types]
    assert [re.sub(r"(numpy\.ndarray)\[.*(numpy\.floating)\[.*", r"\1 of \2", one) for one in plain] == EXPECTED


@pytest.mark.long
def test_a_misspelt_name_is_an_error(check):
    _, errors = check("import wsl\n\nwsl.Locliser\nwsl.config.DataConfg\n")
    assert [re.search(r'"(\w+)"\?', error)[1] for error in errors] == ["Localizer", "DataConfig"]


@pytest.mark.long
def test_the_items_of_a_stream_are_typed(check):
    types, errors = check(STREAMS)
    assert (types, errors) == (["wsl.results.Localization"] * 2, [])
