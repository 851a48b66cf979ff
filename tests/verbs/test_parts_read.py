"""Every command that reads localizations.jsonl reads a folder of parts, and says the same of it."""

import json
import re
import shutil

import pytest

from wsl import cli
from wsl.config import LocalizeConfig, PickConfig, RuntimeConfig, ShardConfig
from wsl.errors import UserError
from wsl.formats import count_localizations, find_localizations, read_localizations, results_folder
from wsl.verbs.localize import run_localize
from wsl.verbs.localize_shards import run_shards

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def both(run, photos, tmp_path_factory):
    """The same localizations as lines and as parts."""
    place = tmp_path_factory.mktemp("both")
    options = {
        "sources": (str(photos / "val*.png"),),
        "weights": str(run),
        "runtime": RuntimeConfig(device="cpu", precision="fp32", workers=0),
        "batch_size": 4,
        "maps": True,
        "pick": PickConfig(top_k=None),
    }
    run_localize(LocalizeConfig(out=place / "lines", **options))
    sharding = ShardConfig(engine="local", shard_size=8)
    run_shards(LocalizeConfig(out=place / "parts", sharding=sharding, **options))
    return place


def test_an_evaluation_says_the_same(both, world, tmp_path, capsys):
    reports = []
    for name in ("lines", "parts"):
        flags = ["--predictions", str(both / name), "--data", str(world), "--out", str(tmp_path / name)]
        assert cli.evaluate(flags) == 0
        reports.append(json.loads((tmp_path / name / "evaluation.json").read_text(encoding="utf-8")))
    for report in reports:
        report.pop("predictions", None)
    lines, parts = (json.dumps(report).replace(str(both), "").replace("/lines", "/parts") for report in reports)
    assert lines == parts


@pytest.mark.parametrize("name", ["coco", "csv", "voc-masks", "wsl"])
def test_an_export_is_the_same_file(both, tmp_path, name):
    for source in ("lines", "parts"):
        assert cli.export([str(both / source), "--format", name, "--out", str(tmp_path / source)]) == 0
    files = [sorted(path for path in (tmp_path / source).rglob("*") if path.is_file()) for source in ("lines", "parts")]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_pictures_and_reports_are_the_same(both, tmp_path):
    for source in ("lines", "parts"):
        flags = ["--predictions", str(both / source), "--out", str(tmp_path / source)]
        assert cli.visualize([*flags, "--limit", "3"]) == 0
        assert cli.visualize([*flags, "--report"]) == 0
    files = sorted((tmp_path / "lines").rglob("*.png"))
    assert len(files) == 4
    for path in files:
        assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "lines")).read_bytes()
    assert (tmp_path / "lines" / "report.html").read_bytes() == (tmp_path / "parts" / "report.html").read_bytes()
    flags = ["--predictions", str(both / "lines"), "--against", str(both / "parts"), "--out", str(tmp_path)]
    assert cli.visualize([*flags, "--report"]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    items = json.loads(re.search(r'id="items">(.*?)</script>', text, re.DOTALL)[1])
    assert len(items) == 16
    assert all(item["views"][0] == item["views"][1] and item["views"][0]["classes"][0]["map"] for item in items)


def test_runs_are_compared(both, world, capsys):
    flags = [str(both / "lines"), str(both / "parts"), "--data", str(world), "--metrics", "pointing", "--json"]
    assert cli.compare(flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert {value for name, value in _numbers(result) if name == "difference"} <= {0.0}


def _numbers(value, name=""):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _numbers(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from _numbers(one, name)
    else:
        yield name, value


def test_parts_are_found_and_counted(both):
    parts = both / "parts"
    assert find_localizations(parts) == parts == results_folder(parts)
    assert count_localizations(parts) == count_localizations(both / "lines" / "localizations.jsonl") == 16
    first = min(parts.glob("part-*.parquet"))
    assert results_folder(find_localizations(first)) == parts
    assert [one.id for one in read_localizations(first)] == [f"val{i:02}" for i in range(8)]
    assert all(one.maps for one in read_localizations(first))


def test_a_run_that_is_not_finished_is_read_and_told(both, tmp_path, caplog):
    shutil.copytree(both / "parts", tmp_path / "parts")
    (tmp_path / "parts" / "_SUCCESS").unlink()
    next((tmp_path / "parts").glob("part-000000-*.parquet")).unlink()
    (tmp_path / "parts" / ".part-000000-0123456789ab.7.parquet").write_text("still written")
    assert [one.id for one in read_localizations(tmp_path / "parts")] == [f"val{i:02}" for i in range(8, 16)]
    shutil.copytree(both / "parts", tmp_path / "two", ignore=shutil.ignore_patterns("_SUCCESS"))
    next((tmp_path / "two").glob("part-000000-*.parquet")).rename(tmp_path / "elsewhere")
    next((tmp_path / "two").glob("part-000001-*.parquet")).rename(tmp_path / "two" / "part-000007-0123456789ab.parquet")
    assert len(list(read_localizations(tmp_path / "two"))) == 8


def test_both_kinds_in_one_folder_are_not_guessed(both, tmp_path):
    shutil.copytree(both / "parts", tmp_path / "parts")
    shutil.copy(both / "lines" / "localizations.jsonl", tmp_path / "parts")
    with pytest.raises(UserError, match=r"holds localizations\.jsonl and parts: name that file"):
        find_localizations(tmp_path / "parts")
    named = tmp_path / "parts" / "localizations.jsonl"
    assert find_localizations(named) == named


def test_an_export_tells_an_image_that_comes_twice(both, tmp_path, capsys):
    lines = (both / "lines" / "localizations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    other = {**json.loads(lines[3]), "boxes": []}
    for again, code in ((lines[3], 0), (json.dumps(other) + "\n", 2)):
        (tmp_path / "localizations.jsonl").write_text("".join([*lines, again]), encoding="utf-8")
        assert cli.export([str(tmp_path), "--format", "csv", "--out", str(tmp_path / f"out {code}")]) == code
    assert "val03.png occurs twice in" in capsys.readouterr().err
