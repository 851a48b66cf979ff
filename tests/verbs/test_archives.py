"""Commands on images that lie in an archive, from labels to copies for another tool."""

import json
import tarfile
import zipfile

import pytest

from wsl import cli
from wsl.formats import read_localizations
from wsl.images import read_image


@pytest.fixture(params=["tar", "zip"])
def archive(request, photos, tmp_path):
    """Some photographs with a label beside each."""
    files = sorted(photos.glob("val*.png"))[:3]
    path = tmp_path / f"photos.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as opened:
            for file in files:
                opened.write(file, f"in/{file.name}")
        return path
    with tarfile.open(path, "w") as opened:
        for file in files:
            opened.add(file, f"in/{file.name}")
    return path


def test_from_an_archive_to_copies(run, archive, tmp_path, capsys):
    flags = ["--weights", str(run), "--device", "cpu", "--workers", "0"]
    assert cli.localize([str(archive), *flags, "--out", str(tmp_path / "found"), "--heatmaps"]) == 0
    found = list(read_localizations(tmp_path / "found"))
    assert [one.path.relative_to(archive).parts[0] for one in found] == ["in"] * 3
    assert len(list((tmp_path / "found" / "heatmaps").iterdir())) == 3
    export = [str(tmp_path / "found"), "--format", "yolo", "--out", str(tmp_path / "yolo"), "--copy-images"]
    assert cli.export(export) == 0
    copies = sorted((tmp_path / "yolo" / "images").rglob("*.png"))
    assert [copy.name for copy in copies] == [one.path.name for one in found]
    assert (read_image(copies[0]) == read_image(found[0].path)).all()
    assert cli.export([*export, "--overwrite"]) == 0  # over copies of its own
    capsys.readouterr()
    assert cli.localize([str(archive), *flags, "--out", str(tmp_path / "planned"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
