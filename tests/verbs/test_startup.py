"""What commands load: nothing heavy before a mistake is told, and no evaluation in order to localize."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wsl import cli

# Runs command lines in a process where torch cannot be imported: verb, then flags, one list each.
SCRIPT = """
import contextlib, io, json, os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "torchmetrics", "accelerate"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
from wsl import cli

outcomes = []
for verb, *flags in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.StringIO()):
        try:
            code = getattr(cli, verb)(flags)
        except SystemExit as left:  # of a flag that cannot be parsed
            code = left.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    outcomes.append([code, told.getvalue()])
print(json.dumps(outcomes))
"""
VOC = ["--data", "WORLD"]
LOCALIZE = ["localize", "PHOTOS", "--out", "OUT"]
LABELLED = ["localize", "--weights", "RUN", "--out", "OUT", "--labels"]
EVALUATE = ["evaluate", "--out", "OUT"]
COMPARE = ["compare", "RUN", *VOC]
TRAIN = ["train", *VOC, "--backbone", "tinynet"]
MISTAKES = [
    (["localize", "lost.jpg", "--weights", "resnet50", "--out", "OUT"], "lost.jpg: no such file or folder"),
    (["localize", "lost/*.jpg", "--weights", "resnet50", "--out", "OUT"], "the pattern matches nothing"),
    (["localize", "EMPTY", "--weights", "resnet50", "--out", "OUT"], "no image in it"),
    (["localize", "--weights", "resnet50", "--out", "OUT"], "no image given"),
    (["localize", "PHOTOS", "--weights", "resnet50", "--out", "FILE"], "is a file: expected a folder for the results"),
    (["localize", "PHOTOS", "--weights", "resnet50", "--out", "FILE/in"], "is a file: expected a folder"),
    ([*LOCALIZE, "--weights", "runs/lost"], "no model 'runs/lost' (a path, but nothing is there)"),
    ([*LOCALIZE, "--weights", "lost.onnx"], "no model 'lost.onnx' (a path, but nothing is there)"),
    ([*LOCALIZE, "--weights", "EMPTY"], "expected a run folder of wsl-train with model.safetensors"),
    ([*LOCALIZE, "--weights", "HALF"], "is not a whole safetensors file"),
    ([*LOCALIZE, "--weights", "resnet50", "--local-weights", "lost.pth"], "no weights file at lost.pth"),
    ([*LOCALIZE, "--weights", "RUN", "--classes", "bleu"], "the model knows no class 'bleu'; did you mean 'blue'?"),
    ([*LOCALIZE, "--weights", "RUN", "--threshold", "1.5"], "threshold is 1.5"),
    ([*LOCALIZE, "--weights", "RUN", "--batch-size", "0"], "batch size is 0"),
    ([*LOCALIZE, "--weights", "RUN", *VOC], "both images (PHOTOS) and --data: expected one of them"),
    ([*LOCALIZE, "--weights", "RUN", "--labels"], "--labels and --split describe the images of --data"),
    ([*LOCALIZE, "--weights", "RUN", "--format", "voc"], "--split-seed describe --data: expected it too"),
    ([*LABELLED, "--data", "lost"], "lost: no such file or folder; expected a data set"),
    ([*LABELLED, *VOC, "--split", "vall"], "has no split 'vall'; did you mean 'val'?"),
    ([*LABELLED, *VOC, "--format", "coco"], "no COCO annotations"),
    ([*LABELLED, *VOC, "--classes", "red"], "both --labels and --classes"),
    ([*LABELLED, "--data", "OTHERS", "--split", "all"], "knows no class 'reed'; did you mean 'red'?"),
    ([*EVALUATE, "--data", "lost", "--weights", "resnet50"], "lost: no such file or folder; expected a data set"),
    ([*EVALUATE, *VOC, "--weights", "runs/lost"], "no model 'runs/lost'"),
    ([*EVALUATE, *VOC, "--predictions", "lost"], "lost: no such file or folder, expected localizations.jsonl"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--split", "vall"], "did you mean 'val'?"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--select-threshold", "trian"], "did you mean 'train'?"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--report-classes", "green"], "unknown class 'green' to report"),
    ([*EVALUATE, "--data", "OTHERS", "--split", "all", "--weights", "RUN"], "does not know the class 'reed'"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--metrics", "pointin"], "no metric 'pointin': did you mean 'pointing'?"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--num-thresholds", "0"], "number of thresholds is 0"),
    (
        [*EVALUATE, *VOC, "--weights", "RUN", "--num-thresholds", "1000000"],
        "is 1000000, expected 1 to 10000",
    ),
    (
        [*EVALUATE, *VOC, "--predictions", "lost", "--tta", "flip"],
        "--tta needs --weights: --predictions are",
    ),
    ([*EVALUATE, *VOC, "--predictions", "lost", "--aligned", "True"], "--aligned needs --weights"),
    ([*EVALUATE, *VOC, "--predictions", "lost", "--image-size", "64"], "--image-size needs --weights"),
    ([*EVALUATE, *VOC, "--predictions", "lost", "--layers", "0"], "--cam, --layers or --model needs --weights"),
    ([*EVALUATE, *VOC, "--predictions", "lost", "--faithfulness", "5"], "--faithfulness needs --weights"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--faithfulness", "0"], "faithfulness is 0, expected the number of images"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--faithfulness", "-1"], "faithfulness is -1"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--faithfulness-steps", "8"], "--faithfulness-steps without --faithfulness"),
    ([*EVALUATE, *VOC, "--predictions", "lost", "--stability", "5"], "--stability needs --weights"),
    ([*EVALUATE, *VOC, "--weights", "RUN", "--stability", "0"], "stability is 0, expected the number of images"),
    (
        [*EVALUATE, *VOC, "--weights", "RUN", "--faithfulness", "5", "--faithfulness-steps", "0"],
        "faithfulness steps is 0, expected 1 or more",
    ),
    (["compare", *VOC], "0 runs to compare: expected two or more"),
    (COMPARE, "1 run to compare: expected two or more"),
    ([*COMPARE[:2], "lost/run", *VOC], "no run at lost/run (nothing is there): expected a run folder of wsl-train"),
    ([*COMPARE[:2], "EMPTY", *VOC], "(neither a model nor predictions): expected a run folder of wsl-train"),
    (
        [*COMPARE[:2], "WORLD", *VOC],
        "(it holds a VOC data set, neither a model nor predictions): expected a run",
    ),
    ([*COMPARE[:2], "PHOTOS", *VOC], "(it holds pictures, neither a model nor predictions): expected a run folder"),
    ([*COMPARE[:2], "RUNS", *VOC], "(it holds the runs run, neither a model nor predictions): expected a run folder"),
    (
        [*COMPARE[:2], "RUNS/poolings.json", *VOC],
        "lists the poolings of several runs, and is no run: expected",
    ),
    ([*EVALUATE, *VOC, "--weights", "RUNS"], ", which holds the runs run: expected a run folder of wsl-train"),
    (["info", "PHOTOS"], "a folder without one (of images? then --data"),
    ([*COMPARE[:2], "EVALUATED", *VOC], "is an evaluation, which does not contain the bootstrap samples"),
    ([*COMPARE[:2], "HALF", *VOC], "is not a whole safetensors file"),
    ([*COMPARE[:2], "CHECKPOINT", *VOC], "is the same run twice: expected each run once"),
    ([*COMPARE[:2], "resnet50", "resnet50", *VOC], "resnet50 is the same run twice"),
    ([*COMPARE[:2], "resnet50", "--data", "lost"], "lost: no such file or folder; expected a data set"),
    ([*COMPARE[:2], "resnet50", *VOC, "--split", "vall"], "did you mean 'val'?"),
    ([*COMPARE[:2], "resnet50", *VOC, "--metrics", "pointin"], "no metric 'pointin': did you mean 'pointing'?"),
    ([*COMPARE[:2], "resnet50", *VOC, "--names", "a"], "1 --names for 2 runs: expected one each"),
    ([*COMPARE[:2], "resnet50", *VOC, "--names", "a", "a"], "two runs are named 'a'"),
    ([*COMPARE[:2], "resnet50", *VOC, "--names", "a", " "], "an empty name among --names"),
    ([*COMPARE[:2], "resnet50", *VOC, "--baseline", "vgg16"], "--baseline vgg16 is not one of the runs"),
    ([*COMPARE[:2], "resnet50", *VOC, "--report-classes", "green"], "unknown class 'green' to report"),
    ([*COMPARE[:2], "resnet50", *VOC, "--select-threshold", "val"], "is the split that is reported"),
    ([*COMPARE[:2], "resnet50", *VOC, "--figure", "svg"], "--figure svg without --out"),
    ([*COMPARE[:2], "resnet50", *VOC, "--out", "FILE"], "is a file: expected a folder for the results"),
    ([*COMPARE[:2], "resnet50", "--data", "OTHERS", "--split", "all"], "does not know the class 'reed'"),
    (["evaluate", *VOC, "--weights", "RUN", "--out", "FILE"], "is a file: expected a folder for the results"),
    (["train", "--data", "lost", "--out", "OUT"], "lost: no such file or folder; expected a data set"),
    ([*TRAIN, "--out", "OUT", "--train-split", "trian"], "did you mean 'train'?"),
    ([*TRAIN, "--out", "OUT", "--val-split", "vall"], "did you mean 'val'?"),
    ([*TRAIN, "--out", "FILE"], "is a file: expected a folder for the run"),
    ([*TRAIN, "--out", "RUN"], "holds a run: --resume continues it"),
    ([*TRAIN, "--out", "OUT", "--resume"], "no run to resume"),
    ([*TRAIN, "--out", "OUT", "--weights", "runs/lost"], "no weights at runs/lost"),
    ([*TRAIN, "--out", "OUT", "--weights", "EMPTY"], "expected a run folder of wsl-train"),
    ([*TRAIN, "--out", "OUT", "--epochs", "0"], "epochs is 0"),
    (["visualize", "--predictions", "lost", "--out", "OUT", "--report"], "no localizations at lost"),
    (["visualize", "--predictions", "lost", "--out", "FILE"], "is a file: expected a folder for the pictures"),
    (
        ["visualize", "--predictions", "RUN", "--out", "OUT", "--report"],
        "is a run, without localizations: wsl-",
    ),
    (["evaluate", *VOC, "--predictions", "RUN", "--out", "OUT"], "wsl-evaluate takes a run as --weights"),
    (["evaluate", *VOC, "--image-root", "PHOTOS", "--weights", "RUN"], "--image-root is for wsol, yolo, "),
    (["export", "RUN", "--format", "coco", "--out", "OUT"], "is a run, without localizations: wsl-"),
    (["train", "--data", "PHOTOS", "--out", "OUT"], "images without labels; expected them in a folder for each class"),
    (["demo", "runs/lost"], "no model 'runs/lost' (a path, but nothing is there)"),
    (["doctor", "lost.jpg", "--weights", "resnet50"], "lost.jpg: no such file, expected an image"),
    (
        ["label_studio", "--weights", "resnet50", "--image-root", "lost"],
        "lost: no such folder; expected the folder",
    ),
    (["label_studio", "--weights", "runs/lost", "--image-root", "PHOTOS"], "no model 'runs/lost' (a path"),
    (["label_studio", "--weights", "RUN", "--image-root", "PHOTOS", "--classes", "bleu"], "did you mean 'blue'?"),
    (["export", "lost", "--format", "onnx", "--out", "OUT"], "no model at lost"),
    (["export", "lost", "--format", "coco", "--out", "OUT"], "lost: no such file or folder; expected localizations"),
]


@pytest.fixture(scope="module")
def outcomes(world, run, photos, tmp_path_factory) -> list[tuple[object, str]]:
    """The exit code and standard error of each mistaken command line, without torch."""
    root = tmp_path_factory.mktemp("startup")
    for folder in ("empty", "half", "others/reed", "evaluated", "runs/run"):
        (root / folder).mkdir(parents=True)
    (root / "file").touch()
    (root / "evaluated" / "evaluation.json").write_text("{}", encoding="utf-8")
    (root / "others" / "reed" / "a.png").write_bytes((photos / "val00.png").read_bytes())
    (root / "half" / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:1000])
    (root / "runs" / "poolings.json").write_text('["gap"]', encoding="utf-8")
    (root / "runs" / "run" / "model.safetensors").touch()
    places = {"WORLD": world, "RUN": run, "PHOTOS": photos, "OUT": root / "out", "FILE": root / "file"}
    places |= {"EMPTY": root / "empty", "HALF": root / "half", "OTHERS": root / "others"}
    places |= {"RUNS": root / "runs", "RUNS/poolings.json": root / "runs" / "poolings.json"}
    places |= {"FILE/in": root / "file" / "in"}
    places |= {"EVALUATED": root / "evaluated", "CHECKPOINT": run / "model.safetensors"}
    lines = [[str(places.get(word, word)) for word in line] for line, _ in MISTAKES]
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, cwd=root, check=True)
    assert not (root / "out").exists()
    return [(code, told.replace(str(photos), "PHOTOS")) for code, told in json.loads(ended.stdout)]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: " ".join(MISTAKES[number][0]))
def test_a_mistake_is_told_before_torch_is_loaded(number, outcomes):
    code, told = outcomes[number]
    assert code == 2, told
    assert MISTAKES[number][1] in " ".join(told.split())
    if told.startswith("error: "):
        assert len(told.splitlines()) == 1


def loaded_by(code: str, *arguments: str) -> set[str]:
    code += "\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", f"import sys\n{code}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


@pytest.mark.long
def test_localizing_loads_neither_metrics_nor_plots_nor_training(run, photos, tmp_path):
    """The import rules say so of the source; here nothing else imports them either."""
    code = "from wsl import cli; assert cli.localize(sys.argv[1:]) == 0"
    flags = ["--weights", str(run), "--out", str(tmp_path), "--maps", "--device", "cpu"]
    loaded = loaded_by(code, str(photos / "val00.png"), *flags)
    assert "torch" in loaded
    assert not loaded & {"torchmetrics", "matplotlib", "accelerate", "jinja2", "tensorboard"}


def test_measuring_stored_predictions_loads_no_torch(run, photos, world, tmp_path):
    found = ["--weights", str(run), "--out", str(tmp_path), "--maps", "--device", "cpu", "--data", str(world)]
    assert cli.localize([*found, "--split", "val"]) == 0
    flags = ["--predictions", str(tmp_path), "--data", str(world), "--split", "val", "--out", str(tmp_path / "out")]
    loaded = loaded_by("from wsl import cli; assert cli.evaluate(sys.argv[1:]) == 0", *flags)
    assert "numba" in loaded
    assert not loaded & {"torch", "torchvision", "torchmetrics", "matplotlib", "accelerate", "jinja2"}


@pytest.mark.long
def test_comparing_stored_predictions_loads_no_torch(run, photos, world, tmp_path):
    for name, rule in (("a", "largest"), ("b", "all")):
        found = ["--weights", str(run), "--out", str(tmp_path / name), "--device", "cpu", "--data", str(world)]
        assert cli.localize([*found, "--box-rule", rule]) == 0
    flags = [str(tmp_path / "a"), str(tmp_path / "b"), "--data", str(world)]
    loaded = loaded_by("from wsl import cli; assert cli.compare(sys.argv[1:]) == 0", *flags)
    assert "numba" in loaded
    assert not loaded & {"torch", "torchvision", "torchmetrics", "matplotlib", "accelerate", "jinja2"}


# What is loaded behind the help of each command, one after the other in a single process.
HELP = """
import contextlib, io, json, sys
from wsl import cli

loaded = {}
for verb in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        getattr(cli, verb)(["--help"])
    assert "--help" in shown.getvalue()
    loaded[verb] = [name.split(".")[0] for name in sys.modules]
print(json.dumps(loaded))
"""
VERBS = ["localize", "evaluate", "compare", "train", "visualize", "export", "info", "doctor"]


@pytest.fixture(scope="module")
def loaded_by_help() -> dict[str, list[str]]:
    """The modules that are loaded behind the help of each command and of those before it."""
    ended = subprocess.run([sys.executable, "-c", HELP, *VERBS], capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_help_loads_no_torch(verb, loaded_by_help):
    heavy = {"torch", "torchvision", "numpy", "cv2", "matplotlib", "cattrs", "yaml", "markdown_it"}
    assert not heavy & set(loaded_by_help[verb])


def test_the_package_alone_loads_nothing():
    assert not loaded_by("import wsl") & {"torch", "numpy", "cv2", "PIL", "matplotlib", "rich", "tyro", "cattrs"}


def test_a_tool_says_no_more_than_the_error(tmp_path):
    tool = Path(__file__).parents[2] / "tools" / "localize.py"
    command = [sys.executable, str(tool), "lost", "--weights", "resnet50", "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: lost: no such file or folder")
