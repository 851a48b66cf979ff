"""Two runs in one report, from their folders on the disk: which images belong together, and what the rest are."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import BoxConfig, VisualizeConfig
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, MapStore, read_localizations
from wsl.report.items import gallery_pair
from wsl.results import Localization
from wsl.verbs.visualize import visualize

SIZE = (40, 30)


def photo(path: str, size: tuple[int, int] = SIZE) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (120, 120, 120)).save(path)
    return path


def run(folder: str, paths: list[str], seed: int = 0, *, size: tuple[int, int] = SIZE, threshold: float = 0.4) -> Path:
    """Results with a map of its own for each image, and with what wsl-localize and wsl-evaluate say of them."""
    place, rng = Path(folder), np.random.default_rng(seed)
    store = MapStore(place)
    with LocalizationWriter(place) as writer:
        for path in paths:
            maps = {"dog": rng.random((3, 4)).astype(np.float32)}
            box = Boxes(xyxy=[[1, 2, 20 + seed, 20]], labels=["dog"], scores=[0.5])
            found = Localization(path=path, size=size, scores={"dog": 0.5}, boxes=box, maps=maps)
            writer.write(store.write(found))
    settings = {"weights": folder, "boxes": {"threshold": threshold, "box_rule": "largest"}, "box_origin": "given"}
    (place / "localize.json").write_text(json.dumps(settings), encoding="utf-8")
    return place


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def report(first: Path, second: Path, **settings: object) -> list[dict]:
    visualize(first, against=second, report=True, out="out", **settings)
    return data("items")


def data(name: str):
    text = Path("out/report.html").read_text(encoding="utf-8")
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def views(items: list[dict]) -> list[tuple[str, bool, bool]]:
    return [(item["path"], *(view is not None for view in item["views"])) for item in items]


def test_each_image_is_shown_as_both_runs_have_it(caplog):
    paths = [photo(f"photos/{name}.png") for name in "abcd"]
    first, second = run("gap", paths[:3], 1), run("lse", [paths[2], paths[3], paths[1]], 2, threshold=0.6)
    items = report(first, second)
    assert views(items) == [
        (paths[0], True, False),
        (paths[1], True, True),
        (paths[2], True, True),
        (paths[3], False, True),
    ]
    assert {
        "1 images of gap are not in lse, such as photos/a.png",
        "1 images of lse are not in gap, such as photos/d.png",
    } <= set(caplog.messages)
    assert data("settings")["runs"] == [{"name": "gap", "threshold": 0.4}, {"name": "lse", "threshold": 0.6}]
    found = [{one.path: one for one in read_localizations(place)} for place in (first, second)]
    rules = [BoxConfig(threshold=0.4, box_rule="largest"), BoxConfig(threshold=0.6, box_rule="largest")]
    for item in items:
        pair = [one.get(Path(item["path"])) for one in found]
        item.pop("picture")
        assert item == json.loads(json.dumps(gallery_pair(pair, None, rules)))


def test_images_of_one_name_are_those_of_their_folders():
    paths = [photo(f"c/val/{camera}/0000.png") for camera in ("camA", "camB", "camC")]
    moved = [f"/old/c/val/{camera}/0000.png" for camera in ("camB", "camA")]
    items = report(run("gap", paths), run("lse", moved, 1))
    assert views(items) == [(paths[0], True, True), (paths[1], True, True), (paths[2], True, False)]
    with pytest.raises(UserError, match=r"0000\.png fits .* equally well"):
        report(run("gap", paths), run("bare", ["0000.png"]))


def test_images_of_another_size_are_other_images(caplog):
    photo("photos/a.png")
    items = report(run("gap", ["photos/a.png"]), run("lse", ["photos/a.png"], size=(20, 15)))
    assert views(items) == [("photos/a.png", True, False), ("photos/a.png", False, True)]
    said = "1 images have other sizes in gap than in lse and are shown as two each, such as photos/a.png: "
    assert f"{said}40 × 30 and 20 × 15" in caplog.messages


def test_the_limit_counts_images_and_takes_the_first_run_s_first():
    paths = [photo(f"photos/{name}.png") for name in "abcd"]
    first, second = run("gap", paths[:2]), run("lse", paths[::-1])
    assert views(report(first, second, limit=1)) == [(paths[0], True, True)]
    assert views(report(first, second, limit=3)) == [
        (paths[0], True, True),
        (paths[1], True, True),
        (paths[3], False, True),
    ]


def test_metrics_of_both_runs_stand_in_one_table():
    paths = [photo("photos/a.png")]
    first, second = run("gap", paths), run("lse", paths)
    for place, values in (
        (first, {"mAP": (0.75, 6), "CorLoc": (0.5, 6)}),
        (second, {"mAP": (0.5, 6), "CorLoc": (0.9, 5)}),
    ):
        metrics = {
            name: {"value": value, "counts": {"dog": count}, "baseline": 0.1} for name, (value, count) in values.items()
        }
        (place / "evaluation.json").write_text(json.dumps({"images": 6, "metrics": metrics}), encoding="utf-8")
    report(first, second)
    text = Path("out/report.html").read_text(encoding="utf-8")
    rows = [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    ]
    assert rows == [
        ["metric", "gap", "95 %", "lse", "95 %", "difference", "baseline", "count", "note"],
        ["mAP", "0.750", "", "0.500", "", "+0.250", "0.100", "6", ""],
        ["CorLoc", "0.500", "", "0.900", "", "", "0.100", "6 / 5", ""],
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--against", "gap/localizations.jsonl", "--report"], "is the same run twice"),
        (["--against", "lost", "--report"], "no localizations at lost"),
        (["--against", "empty", "--report"], "empty/localizations.jsonl has no localizations"),
        (["--against", "lse"], "--against without --report: two runs are shown side by side only in a report"),
        (["--against", "twice", "--report"], "twice/localizations.jsonl has two localizations of a.png"),
    ],
)
def test_what_cannot_be_compared_is_one_line(capsys, flags, said):
    for folder, paths in (("gap", ["a.png"]), ("lse", ["a.png"]), ("empty", []), ("twice", ["a.png", "a.png"])):
        run(folder, paths)
    assert cli.visualize(["--predictions", "gap", "--out", "out", *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0


def test_a_report_of_one_run_knows_nothing_of_pairs():
    photo("photos/a.png")
    visualize(VisualizeConfig(predictions=run("gap", ["photos/a.png"]), report=True, out=Path("out")))
    (item,) = data("items")
    assert list(item) == ["name", "path", "width", "height", "classes", "truths", "picture"]
    assert list(data("settings")) == ["title", "boxes"]
    assert 'id="agreement"' not in Path("out/report.html").read_text(encoding="utf-8")
