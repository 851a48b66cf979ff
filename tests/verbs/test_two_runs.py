"""Two runs into one folder: the second is refused, whatever it is, and the first is not disturbed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from wsl import cli
from wsl.files import LOCK
from wsl.formats import LocalizationWriter, read_localizations


def test_the_first_run_is_whole_and_the_second_refused(run, photos, tmp_path, capsys, monkeypatch):
    """Another thread is refused as another process is (tests/test_locks.py)."""
    out, write, codes = tmp_path / "found", LocalizationWriter.write, []
    flags = [str(photos / "val*.png"), "--weights", str(run), "--out", str(out), "--device", "cpu", "--workers", "0"]

    def meanwhile(self, found):
        monkeypatch.undo()
        settings = (out / "localize.json").read_bytes()
        capsys.readouterr()
        with ThreadPoolExecutor(1) as other:
            codes.append(other.submit(cli.localize, [*flags, "--top-k", "2", "--overwrite"]).result())
        error = capsys.readouterr().err
        assert error.startswith(f"error: {out} is being written to by ")
        assert error.count("\n") == 1
        assert (out / "localize.json").read_bytes() == settings
        write(self, found)

    monkeypatch.setattr(LocalizationWriter, "write", meanwhile)
    assert cli.localize([*flags, "--top-k", "1"]) == 0
    assert codes == [2]
    assert len(list(read_localizations(out))) == 16
    assert not (out / LOCK).exists()
    assert cli.localize([*flags, "--top-k", "2", "--overwrite"]) == 0


@pytest.mark.parametrize("name", ["localize", "evaluate", "visualize", "report", "export", "train", "select"])
def test_every_command_that_writes_respects_the_lock(name, run, world, photos, tmp_path, capsys):
    found, out = tmp_path / "found", tmp_path / "out"
    pictures, data = str(photos / "val0*.png"), ["--data", str(world)]
    assert cli.localize([pictures, "--weights", str(run), "--out", str(found), "--device", "cpu"]) == 0
    into = ["--out", str(out)]
    small = ["--backbone", "tinynet", "--weights", "none", "--epochs", "1", "--image-size", "32", "--workers", "0"]
    command, flags = {
        "localize": (cli.localize, [pictures, "--weights", str(run)]),
        "evaluate": (cli.evaluate, ["--predictions", str(found), *data]),
        "visualize": (cli.visualize, ["--predictions", str(found)]),
        "report": (cli.visualize, ["--predictions", str(found), "--report"]),
        "export": (cli.export, [str(found), "--format", "csv"]),
        "train": (cli.train, [*data, *small, "--device", "cpu"]),
        "select": (cli.evaluate, ["--weights", str(run), *data, "--select-threshold", "train", "--device", "cpu"]),
    }[name]
    held = run if name == "select" else out
    held.mkdir(exist_ok=True)
    (held / LOCK).write_text('{"who": "eve", "host": "elsewhere", "pid": 7}', encoding="utf-8")
    capsys.readouterr()
    try:
        assert command([*flags, *into]) == 2
    finally:
        (held / LOCK).unlink()
    error = capsys.readouterr().err
    assert f"error: {held} is being written to by eve since unknown (host elsewhere, process 7): wait" in error
    assert not out.exists() or list(out.iterdir()) == []
