"""What commands write can be read by whom the umask lets read it."""

import stat
import sys
from pathlib import Path

import pytest

from wsl import cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")


def test_every_written_file_has_ordinary_permissions(run, world, photos, tmp_path, capsys):
    found = tmp_path / "found"
    flags = [str(photos / "val0*.png"), "--weights", str(run), "--out", str(found), "--maps", "--heatmaps"]
    assert cli.localize(flags) == 0
    data = ["--data", str(world)]
    assert cli.evaluate(["--predictions", str(found), *data, "--out", str(found), "--plots"]) == 0
    assert cli.visualize(["--predictions", str(found), *data, "--out", str(tmp_path / "pictures")]) == 0
    assert cli.visualize(["--predictions", str(found), *data, "--out", str(found), "--report"]) == 0
    for kind in ("coco", "voc", "voc-masks", "csv"):
        assert cli.export([str(found), "--format", kind, "--out", str(tmp_path / kind), "--copy-images"]) == 0
    assert cli.export([str(run), "--format", "torch", "--out", str(tmp_path / "model.pt2")]) == 0
    capsys.readouterr()
    (tmp_path / "plain").touch()
    expected = mode(tmp_path / "plain")
    files = [path for root in (run, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert {"model.safetensors", "state.pt", "shard-0000.npy", "report.html", "model.pt2"} <= {f.name for f in files}
    assert {path: mode(path) for path in files} == dict.fromkeys(files, expected)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
