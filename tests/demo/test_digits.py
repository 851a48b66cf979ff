"""The whole demonstration on a few canvases: files, table, second runs, foreign folders, Ctrl-C."""

import digits
import pytest
import torch
from digits import COLUMNS, FEATURES, FROM_SCRATCH, MARKER, ON_ONE_NETWORK, main, prepare_folder
from safetensors.torch import load_file

from wsl.errors import UserError
from wsl.images import read_image

TINY = ["--images", "16", "--epochs", "1", "--jobs", "1"]


def measured(out, heads):
    """Everything that was measured; times stand elsewhere."""
    return [(out / head.name / "val" / "evaluation.json").read_text(encoding="utf-8") for head in heads]


@pytest.fixture
def two_heads(monkeypatch):
    """A head that reads the network of the other one, which comes later in the table."""
    heads = tuple(head for head in ON_ONE_NETWORK if head.name in ("gap", "weldon"))
    assert [head.frozen for head in heads] == [True, False]
    monkeypatch.setattr(digits, "ON_ONE_NETWORK", heads)
    monkeypatch.setattr(digits, "FROM_SCRATCH", tuple(head for head in FROM_SCRATCH if head.name in ("gap", "weldon")))
    return heads


def network(out, head):
    """The weights of a run's network, without its head."""
    return {
        name: value
        for name, value in load_file(out / head.name / "model.safetensors").items()
        if name.startswith("backbone.")
    }


def same_network(out, heads):
    one, other = (network(out, head) for head in heads)
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def test_from_nothing_to_boxes_side_by_side(two_heads, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*TINY, "--jobs", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    table = (out / "results.md").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 2 + len(two_heads) + 1
    # The head that trains the network is told first, with a picture to look at; the table has the heads in their order.
    told = [line for line in printed.splitlines() if line.startswith(tuple(head.pooling for head in two_heads))]
    assert [line.startswith(two_heads[1].pooling) for line in told] == [True, False]
    assert printed.index("sheet-001.png  the first boxes") < printed.index(two_heads[1].pooling)
    assert table.index(two_heads[0].pooling) < table.index(two_heads[1].pooling)
    for name in (*COLUMNS, *(head.pooling for head in two_heads)):
        assert name in printed
        assert name in table
    for written in ("comparison.png", "results.md", f"{two_heads[-1].name}/pictures/sheet-001.png"):
        assert str(out.joinpath(*written.split("/"))) in printed
        assert (out / written).is_file()
    assert read_image(out / "comparison.png").ndim == 3
    for head in two_heads:
        assert (out / head.name / "model.safetensors").is_file()
        assert (out / head.name / "found" / "localizations.jsonl").is_file()
    assert same_network(out, two_heads)
    assert not (out / FEATURES).exists()


@pytest.mark.long
def test_the_same_again_one_after_the_other_or_side_by_side(two_heads, tmp_path):
    out = tmp_path / "out"
    assert main([*TINY, "--out", str(out), "--from-scratch"]) == 0
    first = measured(out, two_heads)
    assert not same_network(out, two_heads)
    (out / two_heads[0].name / "left-over.txt").write_text("of an earlier run", encoding="utf-8")
    assert main([*TINY, "--jobs", "2", "--out", str(out), "--from-scratch"]) == 0
    assert measured(out, two_heads) == first
    assert not (out / two_heads[0].name / "left-over.txt").exists()


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "canvases").mkdir()
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "choose another --out" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canvases", "thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        prepare_folder(tmp_path / "thesis.txt")


def test_files_that_others_put_into_the_demo_folder_stay(tmp_path):
    prepare_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / ON_ONE_NETWORK[0].name).mkdir()
    prepare_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER, "notes.txt"]


def test_ctrl_c_is_one_line_and_leaves_whole_files(tmp_path, capsys, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "train", interrupted)
    assert main([*TINY, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.startswith("stopped:")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left if path.name.startswith(".")] == [MARKER]
    assert all(path.stat().st_size for path in left)
    assert not (tmp_path / "results.md").exists()


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--images", "0"], ["--seed", "-1"], ["--jobs", "0"]])
def test_settings_are_checked_before_anything_is_written(arguments, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: --seed is at least 0")
    assert not (tmp_path / "out").exists()
