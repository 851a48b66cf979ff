"""A run of wsl-localize that was stopped goes on to the bytes that it would have written without the stop."""

import json
import shutil

import pytest

from wsl import cli
from wsl.config import LocalizeConfig, PickConfig, RuntimeConfig
from wsl.errors import UserError
from wsl.formats import LocalizationWriter
from wsl.verbs.localize import plan_localize, run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32", workers=0)
NAMES = [f"val{i:02}" for i in range(10)]


@pytest.fixture(scope="module")
def folder(copy_photos, tmp_path_factory):
    """Eleven images in batches of three, of which two cannot be read."""
    names = (f"{name}.png" for name in NAMES)
    return copy_photos(tmp_path_factory.mktemp("images"), names, {"val02.png": b"text", "val10.png": b""})


def settings(run, folder, out, **options):
    options = {"runtime": CPU, "batch_size": 3, "maps": True, "heatmaps": True, "pick": PickConfig(top_k=2), **options}
    return LocalizeConfig(sources=(str(folder),), weights=str(run), out=out, **options)


@pytest.fixture(scope="module")
def undisturbed(run, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    result = run_localize(settings(run, folder, out))
    assert (result.images, result.skipped, result.resumed) == (9, 2, 0)
    return out, result


def contents(out):
    """Every file of a run but its settings, which name their folder."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "localize.json"}


def stopped(undisturbed, out, keep):
    """What a run that was killed leaves: so much of its results file, and maps that lie behind it."""
    shutil.copytree(undisturbed[0], out)
    partial = (out / "localizations.jsonl").rename(out / "localizations.jsonl.partial")
    whole = partial.read_bytes()
    lines = whole.splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[: int(keep)]) + lines[int(keep)][: int(keep % 1 * 100)])
    readable = [name for name in NAMES if name != "val02"]
    for name in readable[int(keep) :]:
        for picture in (out / "heatmaps").glob(f"{name}.png"):
            picture.unlink()


@pytest.mark.parametrize(("keep", "resumed"), [(0, 0), (0.5, 0), (2, 0), (2.99, 0), (3, 3), (4.3, 3), (5, 6), (8.7, 9)])
@pytest.mark.quick("keep", [0.5, 2.99, 4.3])
def test_a_stop_at_any_byte_changes_nothing(keep, resumed, run, folder, tmp_path, undisturbed):
    out = tmp_path / "out"
    stopped(undisturbed, out, keep)
    result = run_localize(settings(run, folder, out, resume=True))
    assert contents(out) == contents(undisturbed[0])
    whole = undisturbed[1]
    assert (result.images, result.boxes, result.skipped) == (whole.images, whole.boxes, whole.skipped)
    # The third image has no line: that it was done is known when there is one of a later image.
    assert result.resumed == resumed


def test_an_interrupt_in_the_middle(run, folder, tmp_path, undisturbed, monkeypatch):
    write, written = LocalizationWriter.write, []

    def interrupted(self, found):
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(found)
        write(self, found)

    monkeypatch.setattr(LocalizationWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_localize(settings(run, folder, tmp_path))
    monkeypatch.undo()
    plan = plan_localize(settings(run, folder, tmp_path, resume=True))
    assert plan.resumes == 6
    assert "(6 images are there already)" in str(plan)
    run_localize(settings(run, folder, tmp_path, resume=True))
    assert contents(tmp_path) == contents(undisturbed[0])


def test_a_stop_over_older_results(run, folder, tmp_path, undisturbed):
    """The maps of the older results stay until the new ones are whole."""
    out = tmp_path / "out"
    stopped(undisturbed, out, 4)
    partial = (out / "localizations.jsonl.partial").read_bytes().replace(b"shard-0000", b"shard-0001")
    (out / "localizations.jsonl.partial").write_bytes(partial)
    shutil.copy(undisturbed[0] / "localizations.jsonl", out)
    shutil.copy(out / "maps" / "shard-0000.npy", out / "maps" / "shard-0001.npy")
    record = json.loads((out / "localize.json").read_text(encoding="utf-8"))
    (out / "localize.json").write_text(json.dumps({**record, "first_map_shard": 1}), encoding="utf-8")
    run_localize(settings(run, folder, out, resume=True))
    renamed = {name.replace("0001", "0000"): data for name, data in contents(out).items()}
    renamed["localizations.jsonl"] = renamed["localizations.jsonl"].replace(b"shard-0001", b"shard-0000")
    assert renamed == contents(undisturbed[0])


def test_what_is_finished_stays(run, folder, undisturbed, capsys):
    before = contents(undisturbed[0])
    result = run_localize(settings(run, folder, undisturbed[0], resume=True))
    assert (result.images, result.skipped, result.resumed) == (9, 2, 11)
    assert contents(undisturbed[0]) == before
    flags = [str(folder), "--weights", str(run), "--out", str(undisturbed[0]), "--maps", "--heatmaps", "--top-k", "2"]
    flags += ["--device", "cpu", "--precision", "fp32", "--batch-size", "3"]
    assert cli.localize([*flags, "--resume"]) == 0
    assert "9 images, 2 unreadable images skipped  (nothing was left to do)" in capsys.readouterr().out


def test_nothing_to_go_on_with_is_a_new_run(run, folder, tmp_path, undisturbed):
    run_localize(settings(run, folder, tmp_path / "new", resume=True))
    assert contents(tmp_path / "new") == contents(undisturbed[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pick": PickConfig(top_k=1)}, "was begun with top_k 2, and this run has 1: give the same settings"),
        ({"maps": False}, "with maps true, and this run has false"),
        ({"heatmaps": False}, "with heatmaps true, and this run has false"),
        ({"heatmap_layout": "each"}, "with heatmap_layout together, and this run has each"),
        ({"batch_size": 4}, "with batch_size 3, and this run has 4"),
        ({"image_size": 32}, "with image_size 64, and this run has 32"),
        ({"tta": ("flip",)}, r'with tta \[\], and this run has \["flip"\]'),
    ],
)
def test_other_settings_are_named(options, message, run, folder, tmp_path, undisturbed):
    out = tmp_path / "out"
    stopped(undisturbed, out, 4)
    before = contents(out)
    with pytest.raises(UserError, match=message):
        run_localize(settings(run, folder, out, resume=True, **options))
    assert contents(out) == before


def test_other_weights_and_images_are_named(run, folder, photos, tmp_path, undisturbed):
    import wsl
    from wsl.models import save

    out = tmp_path / "out"
    stopped(undisturbed, out, 4)
    save(wsl.Localizer("tinynet", classes=["blue", "red"], weights="none"), tmp_path / "other" / "model.safetensors")
    with pytest.raises(UserError, match=r"with \w+"):
        run_localize(settings(tmp_path / "other", folder, out, resume=True))
    with pytest.raises(UserError, match=r"with number of images 11, and this run has 10"):
        run_localize(settings(run, photos / "val0*.png", out, resume=True))


def test_records_that_say_nothing(run, folder, tmp_path, undisturbed):
    out = tmp_path / "out"
    stopped(undisturbed, out, 4)
    (out / "localize.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="does not say how the results beside it were made"):
        run_localize(settings(run, folder, out, resume=True))
    (out / "maps" / "shard-0000.npy").unlink()
    shutil.copy(undisturbed[0] / "localize.json", out)
    with pytest.raises(UserError, match="with maps of the stopped run, is missing"):
        run_localize(settings(run, folder, out, resume=True))


def test_both_flags_at_once():
    with pytest.raises(UserError, match="both --resume and --overwrite"):
        LocalizeConfig(sources=("a",), weights="resnet50", out="found", resume=True, overwrite=True)
