"""What an export replaces in its folder, and what it leaves alone."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import ExportConfig
from wsl.config.export import BoxFormat, MaskFormat
from wsl.errors import UserError
from wsl.files import LOCK, locked
from wsl.formats import LocalizationWriter, MapStore
from wsl.formats.exchange import FORMATS, LAYOUTS
from wsl.formats.exchange.layout import STAGING, undo_exchange
from wsl.results import Localization
from wsl.verbs.export import export

EVERY = [*BoxFormat.__args__, *MaskFormat.__args__]
PER_IMAGE = {"voc": "Annotations/{}.xml", "yolo": "labels/{}.txt", "labelme": "{}.json"}
PER_IMAGE["voc-masks"] = "SegmentationClass/{}.png"


@pytest.fixture
def found(tmp_path):
    """Makes localizations of some images, which are drawn too."""

    def make(*names: str, folder: str = "found", value: int = 90) -> Path:
        store = MapStore(tmp_path / folder)
        with LocalizationWriter(tmp_path / folder) as writer:
            for name in names:
                path = tmp_path / f"{folder}-photos" / f"{name}.png"
                path.parent.mkdir(exist_ok=True)
                cv2.imwrite(str(path), np.full((6, 8, 3), value, np.uint8))
                box = Boxes(xyxy=[[1, 1, 5, 4]], labels=["dog"], scores=[0.5])
                maps = {"dog": np.eye(3, dtype=np.float32)}
                writer.write(store.write(Localization(path=path, size=(8, 6), scores={}, boxes=box, maps=maps)))
        return tmp_path / folder

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(name: str, source: Path, out: Path, **settings) -> Path:
    return export(ExportConfig(sources=(source,), format=name, out=out, **settings)).path


def test_every_format_has_a_layout():
    assert {*LAYOUTS} == {*EVERY, "geojson"}


@pytest.mark.parametrize("name", EVERY)
def test_a_layout_names_exactly_what_is_written(name, found, tmp_path):
    write(name, found("a", "b"), tmp_path / "out")
    written = contents(tmp_path / "out")
    assert written
    assert set(LAYOUTS[name].own(tmp_path / "out")) == set(written)
    assert LAYOUTS[name].foreign(tmp_path / "out") == []


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.quick("name, copy", lambda one: one[1] == (one[0] in ("voc", "yolo")))
def test_an_export_is_replaced_as_a_whole_when_asked(name, copy, found, tmp_path, capsys):
    larger, smaller, out = found("a", "b", "c"), found("c", "d", folder="other"), tmp_path / "out"
    write(name, larger, out, copy_images=copy)
    (out / "mine.md").write_text("notes", encoding="utf-8")
    before = contents(out)
    flags = [str(smaller), "--format", name, "--out", str(out), *(["--copy-images"] if copy else [])]
    assert cli.export(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {out} holds ")
    assert "--overwrite replaces the files of" in error
    assert error.count("\n") == 1
    assert contents(out) == before
    assert cli.export([*flags, "--overwrite"]) == 0
    write(name, smaller, tmp_path / "fresh", copy_images=copy)
    assert contents(out) == {**contents(tmp_path / "fresh"), "mine.md": b"notes"}


@pytest.mark.parametrize("name", EVERY)
def test_an_export_that_fails_leaves_the_old_one(name, found, tmp_path):
    source, out = found("a", "b"), tmp_path / "out"
    write(name, source, out)
    before = contents(out)
    (tmp_path / "found-photos" / "b.png").unlink()
    with pytest.raises(UserError, match="no such image to copy"):
        write(name, source, out, copy_images=True, overwrite=True)
    assert contents(out) == before


KILLED = """
import os, signal, sys
from wsl import cli
from wsl.verbs.export import _Writing
counted = _Writing._counted
def killed(self, *, maps):
    for count, pair in enumerate(counted(self, maps=maps)):
        if count:
            os.kill(os.getpid(), signal.SIGKILL)
        yield pair
_Writing._counted = killed
cli.export(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL, and leaves the lock")
@pytest.mark.parametrize("name", ["voc", "labelme", "coco", "wsl"])
@pytest.mark.quick("name", ["coco"])
def test_a_killed_export_leaves_the_old_one(name, found, tmp_path):
    out = tmp_path / "out"
    write(name, found("a", "b"), out)
    before = contents(out)
    flags = [str(found("c", "d", folder="other")), "--format", name, "--out", str(out), "--overwrite"]
    assert subprocess.run([sys.executable, "-c", KILLED, *flags], check=False).returncode == -signal.SIGKILL
    left = {path: text for path, text in contents(out).items() if not path.startswith((STAGING, LOCK))}
    assert left == before
    assert cli.export(flags) == 0
    write(name, tmp_path / "other", tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["voc", "yolo", "labelme", "coco"])
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_error_while_files_are_exchanged_is_undone(name, failing, found, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(name, found("a", "b"), out, copy_images=True)
    before, rename, count = contents(out), Path.rename, 0

    def fail(self, target):
        nonlocal count
        count += 1
        if count == failing:
            raise PermissionError(13, "in use", str(self))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(PermissionError):
            write(name, found("b", folder="other"), out, copy_images=True, overwrite=True)
    assert contents(out) == before


EXCHANGING = """
import os, signal, sys
from pathlib import Path
from wsl import cli
import wsl.verbs.export  # once for all processes
rename, seen = Path.rename, 0
def killed(self, target):
    global seen
    seen += 1
    if seen == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
for line in sys.stdin:
    number = int(line)
    process = os.fork()
    if process == 0:
        Path.rename, sys.stdout = killed, open(os.devnull, "w")
        os._exit(cli.export(sys.argv[1:]))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL, and leaves the lock")
@pytest.mark.parametrize("name", ["voc", pytest.param("coco", marks=pytest.mark.long)])
def test_a_run_that_is_killed_while_it_exchanges_files_is_undone_by_the_next(name, found, tmp_path):
    """Before each of its renamings, with a file of somebody else in the folder of the format."""
    first, second = found("a", "b"), found("c", "d", folder="other")
    out, ended = tmp_path / "out", []
    write(name, second, tmp_path / "fresh")
    flags = [str(second), "--format", name, "--out", str(out), "--overwrite"]
    command = [sys.executable, "-c", EXCHANGING, *flags]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    while 0 not in ended:
        shutil.rmtree(out, ignore_errors=True)
        write(name, first, out)
        if LAYOUTS[name].folder:
            (out / LAYOUTS[name].folder / "notes.md").write_text("mine", encoding="utf-8")
        before = contents(out)
        process.stdin.write(f"{len(ended) + 1}\n")
        ended.append(int(process.stdout.readline()))
        if ended[-1]:
            with locked(out, "a test"):
                undo_exchange(out)
            assert contents(out) == before
            assert cli.export(flags) == 0
        mine = {path: text for path, text in contents(out).items() if not path.endswith("notes.md")}
        assert mine == contents(tmp_path / "fresh")
        assert len(contents(out)) - len(mine) == (LAYOUTS[name].folder is not None)
    process.communicate()
    assert len(ended) > 3
    assert set(ended[:-1]) == {-signal.SIGKILL}


def test_what_was_done_in_a_folder_after_a_kill_is_not_undone(found, tmp_path):
    out = tmp_path / "out"
    (out / STAGING / "old").mkdir(parents=True)
    for name in ("a.json", f"{STAGING}/old/a.json"):
        (out / name).write_text("{}", encoding="utf-8")
    steps = [["a.json", f"{STAGING}/old/a.json"], ["../gone", f"{STAGING}/old/a.json"], [1], 7]
    (out / STAGING / "exchange.json").write_text(json.dumps(steps), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"was killed while it replaced files, and .* has changed since: .* has the old"
    ):
        write("coco", found("a"), out, overwrite=True)
    assert not (tmp_path / "gone").exists()
    assert (out / STAGING / "old" / "a.json").exists()


def test_a_run_that_was_killed_while_it_exchanged_files_loses_nothing(found, tmp_path):
    old = tmp_path / "out" / STAGING / "old"
    old.mkdir(parents=True)
    (old / "instances.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"was killed while it replaced files, .* has the old files"):
        write("coco", found("a"), tmp_path / "out", overwrite=True)
    assert (old / "instances.json").exists()


@pytest.mark.parametrize("name", ["voc", "yolo", "voc-masks"])
def test_other_peoples_files_in_a_folder_of_the_format_stay(name, found, tmp_path):
    source, out = found("a"), tmp_path / "out"
    folder = LAYOUTS[name].folder
    (out / folder / "deep").mkdir(parents=True)
    (out / folder / "deep" / "notes.md").write_text("mine", encoding="utf-8")
    (out / folder / "more.csv").touch()
    with pytest.raises(UserError, match=f"holds 2 other files in {folder}: --overwrite"):
        write(name, source, out)
    write(name, source, out, overwrite=True)
    assert {f"{folder}/deep/notes.md": b"mine", f"{folder}/more.csv": b""}.items() <= contents(out).items()
    assert (out / PER_IMAGE[name].format("a")).is_file()
    assert not (out / STAGING).exists()


def test_what_the_system_leaves_in_folders_is_no_reason_to_refuse(found, tmp_path):
    (tmp_path / "out" / "Annotations").mkdir(parents=True)
    (tmp_path / "out" / "Annotations" / ".DS_Store").touch()
    write("voc", found("a"), tmp_path / "out")
    assert (tmp_path / "out" / "Annotations" / ".DS_Store").is_file()


def test_ground_truth_is_not_written_over(world, found, tmp_path):
    """A VOC data set keeps its annotations, and its lists and images even with --overwrite."""
    data = Path(shutil.copytree(world, tmp_path / "data"))
    before = contents(data)
    with pytest.raises(UserError, match=r"holds 64 files of voc \(Annotations/train00.xml first\)"):
        write("voc", found("val00"), data)
    assert contents(data) == before
    write("voc", found("val00"), data, overwrite=True)
    after = contents(data)
    assert [path for path in after if path.startswith("Annotations/")] == ["Annotations/val00.xml"]
    kept = {path: text for path, text in before.items() if not path.startswith("Annotations/")}
    assert kept.items() <= after.items()


def test_annotations_that_lie_flat_are_noticed(found, tmp_path):
    for name, root in (("a", '<annotation verified="yes">'), ("annotations", "<annotations>")):
        (tmp_path / f"{name}.xml").write_text(root, encoding="utf-8")
    with pytest.raises(UserError, match=r"holds 1 file of voc \(a.xml first\)"):
        write("voc", found("a"), tmp_path)
    write("voc", found("a"), tmp_path, overwrite=True)
    assert (tmp_path / "a.xml").read_text(encoding="utf-8").startswith("<annotation verified")


def test_json_that_is_not_labelmes_stays(found, tmp_path):
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    (out / "runs" / "config.json").write_text("{}", encoding="utf-8")
    (out / "b.json").write_text("{}", encoding="utf-8")
    write("labelme", found("a"), out)
    write("labelme", found("a"), out, overwrite=True)
    with pytest.raises(UserError, match=r"b\.json exists and is not part of the export"):
        write("labelme", found("a", "b"), out, overwrite=True)
    assert sorted(contents(out)) == ["a.json", "b.json", "runs/config.json"]
    assert (out / "b.json").read_text(encoding="utf-8") == "{}"


def test_pictures_that_no_export_copied_are_never_replaced(found, tmp_path):
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    for name in ("a", "z"):
        cv2.imwrite(str(out / "images" / f"{name}.png"), np.full((6, 8, 3), 5, np.uint8))
    before = contents(out)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"images/a\.png is a different picture from"):
            write("yolo", found("a", "b"), out, copy_images=True, overwrite=overwrite)
        assert contents(out) == before
    write("yolo", found("b"), out, copy_images=True)
    assert before.items() <= contents(out).items()
    write("yolo", found("z", value=5), out, copy_images=True, overwrite=True)
    assert {path for path in contents(out) if path.endswith("png")} == {"images/a.png", "images/z.png"}
    write("yolo", found("c"), out, copy_images=True, overwrite=True)
    assert (out / "images" / "z.png").is_file()


def test_copies_stay_where_none_are_asked_for(found, tmp_path):
    out = tmp_path / "out"
    write("yolo", found("a", "b"), out, copy_images=True)
    write("yolo", found("b"), out, overwrite=True)
    assert {path for path in contents(out) if path.endswith("png")} == {"images/a.png", "images/b.png"}


def test_copies_that_are_the_source_stay(found, tmp_path):
    """Boxes come back from a data set of an earlier export, whose images are the only ones."""
    out = tmp_path / "out"
    write("yolo", found("a", "b"), out, copy_images=True)
    write("wsl", out, tmp_path / "back", source_format="yolo")
    before = contents(out)
    write("yolo", tmp_path / "back", out, copy_images=True, overwrite=True, scores=False)
    assert contents(out) == before


def test_a_list_of_copies_names_no_file_elsewhere(found, tmp_path):
    out, other = tmp_path / "out", tmp_path / "secret.png"
    write("coco", found("a"), out, copy_images=True)
    other.touch()
    (out / ".wsl-copied-coco.json").write_text(f'["../secret.png", "{other}", 7, "a\\u0000"]', encoding="utf-8")
    (out / "images" / "a.png").unlink()
    write("coco", found("b"), out, copy_images=True, overwrite=True)
    assert other.exists()


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.read])
def test_the_source_is_not_written_over(name, found, tmp_path):
    data = tmp_path / "data"
    path = write(name, found("a", "b"), data, copy_images=True)
    source = data if name in ("voc", "yolo", "labelme") else path
    before = contents(data)
    beside = data if name == "coco" else source.parent if source.is_file() else source  # COCO's annotations lie deeper
    for out in {data, Path(f"{data}/../data"), beside}:
        with pytest.raises(UserError, match="would overwrite files that are read, or be mixed with them, in"):
            write(name, source, out, source_format=name, overwrite=True)
    assert contents(data) == before
    if name != "labelme":  # whose reader takes all JSON below its folder
        write("coco" if name != "coco" else "csv", source, data, source_format=name, keep_unreviewed=True)
        assert before.items() <= contents(data).items()


@pytest.mark.parametrize(
    ("name", "source_format", "below"),
    [("coco", "labelme", ""), ("labelme", "labelme", "sub"), ("voc", "voc", "Annotations")],
)
def test_nothing_is_written_among_the_files_of_the_source(name, source_format, below, found, tmp_path):
    data = tmp_path / "data"
    write(source_format, found("a"), data, copy_images=True)
    before = contents(data)
    with pytest.raises(UserError, match="overwrite files that are read"):
        write(name, data, data / below, source_format=source_format, overwrite=True)
    assert contents(data) == before


def test_localizations_are_not_written_over_themselves(found):
    source = found("a")
    before = contents(source)
    with pytest.raises(UserError, match="overwrite files that are read"):
        write("wsl", source, source, overwrite=True)
    assert contents(source) == before
    write("coco", source, source)
    assert before.items() <= contents(source).items()


def test_a_reference_survives(found, tmp_path):
    out = tmp_path / "out"
    write("coco-results", found("a"), out)
    for reference in (out / "images.json", out / "results.json"):
        with pytest.raises(UserError, match="overwrite files that are read"):
            write("coco-results", found("a"), out, reference=reference, overwrite=True)


def test_a_folder_behind_a_link_keeps_its_files(found, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    write("yolo", found("a", "b"), out)
    shutil.move(out / "labels", elsewhere)
    (out / "labels").symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(UserError, match="holds 3 files of yolo"):
        write("yolo", found("a"), out)
    write("yolo", found("a"), out, overwrite=True)
    assert contents(elsewhere) == before
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.txt"]


def test_a_model_is_not_written_over(run, tmp_path, capsys, monkeypatch):
    from wsl.models import export

    monkeypatch.setattr(export, "export_model", lambda model, out, form, **_: out.write_text("new") and 0.0)
    path = tmp_path / "model.pt2"
    path.write_text("mine", encoding="utf-8")
    flags = [str(run), "--format", "torch", "--out", str(path)]
    assert cli.export(flags) == 2
    assert capsys.readouterr().err == f"error: {path} exists: --overwrite replaces it, or choose another --out\n"
    assert path.read_text(encoding="utf-8") == "mine"
    assert cli.export([*flags, "--overwrite"]) == 0
    assert path.read_text(encoding="utf-8") == "new"
