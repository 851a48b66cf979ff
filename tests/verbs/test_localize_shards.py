"""wsl-localize --engine: the same parts, byte for byte, whoever makes them and whatever dies meanwhile."""

import json
import multiprocessing
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import wsl
from wsl import cli
from wsl.config import LocalizeConfig, PickConfig, RuntimeConfig, ShardConfig
from wsl.errors import BadImageError, RunError, UserError
from wsl.formats import read_localizations
from wsl.formats.shards.manifest import Manifest
from wsl.formats.shards.parts import PartWriter
from wsl.formats.shards.storage import Storage
from wsl.inference.opening import OpenedModel
from wsl.inference.shards import Job, ShardWorker
from wsl.inference.shards.engines.local import LocalEngine
from wsl.limits import allowing
from wsl.models import save
from wsl.verbs.localize import run_localize
from wsl.verbs.localize_shards import make_job_manifest, plan_shards, run_shards

pytest.importorskip("pyarrow")
CPU = RuntimeConfig(device="cpu", precision="fp32", workers=0)
NAMES = [f"val{i:02}" for i in range(14)]


@pytest.fixture(scope="module")
def folder(copy_photos, tmp_path_factory):
    """Fourteen images, four a shard, of which two cannot be read."""
    names = (f"{name}.png" for name in NAMES)
    return copy_photos(tmp_path_factory.mktemp("images"), names, {"val02.png": b"text", "val09.png": b""})


def settings(run, out, *sources, engine="local", **options):
    names = {one for one in ShardConfig.__dataclass_fields__ if one in options}
    sharding = ShardConfig(engine=engine, **{"shard_size": 4, **{name: options.pop(name) for name in names}})
    options = {"runtime": CPU, "batch_size": 2, "maps": True, "pick": PickConfig(top_k=2), **options}
    return LocalizeConfig(sources=tuple(map(str, sources)), weights=str(run), out=out, sharding=sharding, **options)


@pytest.fixture(scope="module")
def undisturbed(run, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    result = run_shards(settings(run, out, folder))
    assert (result.shards, result.done, result.images, result.failed, result.localized) == (4, 4, 12, 2, 14)
    return out


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of that run, to be changed."""
    return shutil.copytree(undisturbed, tmp_path / "out")


def contents(out):
    """Every file but the settings, which name their folder."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "localize.json"}


def test_parts_say_what_lines_say(run, folder, tmp_path, undisturbed):
    config = settings(run, tmp_path, folder)
    plain = LocalizeConfig(
        sources=config.sources, weights=str(run), out=tmp_path, runtime=CPU, batch_size=2, maps=True, pick=config.pick
    )
    run_localize(plain)
    for one, other in zip(read_localizations(undisturbed), read_localizations(tmp_path), strict=True):
        ours, theirs = one.to_json(), other.to_json()
        assert (one.id, ours.pop("maps") is not None) == (other.id, theirs.pop("maps") is not None)
        assert ours == theirs
        assert one.scores == other.scores
        np.testing.assert_array_equal(one.boxes.xyxy, other.boxes.xyxy)
        np.testing.assert_array_equal(one.boxes.scores, other.boxes.scores)
        assert all((one.maps[label] == other.maps[label]).all() for label in other.maps)


def test_failures_are_rows_and_counted(undisturbed):
    import pyarrow.parquet as pq

    tables = [pq.read_table(path) for path in sorted(undisturbed.glob("part-*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["id"] for row in rows] == NAMES
    errors = {row["id"]: row["error"] for row in rows if row["error"] is not None}
    assert set(errors) == {"val02", "val09"}
    assert "not a picture in a known format" in errors["val02"]
    assert "the file is empty" in errors["val09"]
    assert all(row["path"] in row["error"] for row in rows if row["error"])
    assert json.loads((undisturbed / "_SUCCESS").read_text(encoding="utf-8"))["failed"] == 2
    assert {str(field.type) for field in tables[0].schema if field.name == "boxes"} == {
        "list<element: struct<label: string, score: float, x0: float, y0: float, x1: float, y1: float>>"
    }


def test_shares_of_an_array_in_any_order_make_the_same(run, folder, tmp_path, undisturbed):
    states = []
    for share in ("3/3", "1/3", "2/3"):
        result = run_shards(settings(run, tmp_path, folder, engine="array", shard=share))
        states.append((result.done, (tmp_path / "_SUCCESS").exists()))
    assert states == [(1, False), (3, False), (4, True)]
    assert (result.images, result.localized) == (12, 4)
    assert contents(tmp_path) == contents(undisturbed)


def test_images_of_a_batch_may_be_read_by_many_threads(run, folder, tmp_path, undisturbed):
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=3)
    run_shards(settings(run, tmp_path, folder, runtime=runtime))
    assert contents(tmp_path) == contents(undisturbed)


def test_the_limit_of_pixels_goes_with_the_work(run, folder, tmp_path):
    config = settings(run, tmp_path, folder)
    with allowing(1000):
        work = pickle.dumps(ShardWorker(Job.begin(config, OpenedModel.open(config))))
    receipt = pickle.loads(work)(0)  # noqa: S301 - of the line above
    assert (receipt.images, receipt.failed) == (0, 4)


@pytest.mark.parametrize("image", [1, 6, 11])
@pytest.mark.quick("image", [6])
def test_a_stop_at_any_image_leaves_whole_parts(image, run, folder, tmp_path, undisturbed, interrupted_at):
    config = settings(run, tmp_path, folder)
    with interrupted_at(image):
        run_shards(config)
    whole = {name: data for name, data in contents(tmp_path).items() if name.startswith(("part", "maps"))}
    assert whole.items() <= contents(undisturbed).items()
    plan = plan_shards(config)
    assert (plan.done, plan.shards) == (len(list(tmp_path.glob("part-*"))), 4)
    result = run_shards(config)
    assert result.localized == 14 - 4 * plan.done
    assert contents(tmp_path) == contents(undisturbed)


@pytest.fixture
def crashes(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "inference"))
    import shard_crashes

    return shard_crashes


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_of_the_local_engine_costs_one_shard(crashes, run, folder, tmp_path, undisturbed):
    config = settings(run, tmp_path / "out", folder)
    job = Job.begin(config, OpenedModel.open(config))
    work = crashes.DiesAtAnImage(ShardWorker(job), tmp_path / "died", image=3)
    receipts = list(LocalEngine([{"OMP_NUM_THREADS": "1"}]).run(work, range(4)))
    assert (tmp_path / "died").exists()
    assert sorted(receipt.shard for receipt in receipts) == [0, 1, 2, 3]
    left = [path.name for path in (tmp_path / "out").glob(".*")]
    assert [name.split(".")[1].rpartition("-")[0] for name in left] == ["maps-000000"]
    assert run_shards(config).localized == 0
    assert contents(tmp_path / "out") == contents(undisturbed)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_task_of_an_array_is_started_again(crashes, run, folder, tmp_path, undisturbed):
    config = settings(run, tmp_path / "out", folder, engine="array", shard="1/1")
    task = multiprocessing.get_context("spawn").Process(target=crashes.array_task, args=(config, tmp_path / "died", 2))
    task.start()
    task.join()
    assert task.exitcode == -9
    assert not list((tmp_path / "out").glob("part-*"))
    run_shards(config)
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_slower_worker_finds_its_shard_done_and_leaves_it(run, folder, tmp_path, undisturbed, monkeypatch):
    """The quicker one removes the temporary files of the shard, also those of a worker that still writes."""
    config = settings(run, tmp_path, folder)
    opened = OpenedModel.open(config)
    job = Job.begin(config, opened)
    quick, slow = ShardWorker(job, opened), ShardWorker(job, opened)
    fill = ShardWorker._fill

    def overtaken(self, part, predictor, rows):
        fill(self, part, predictor, rows)
        if self is slow:
            monkeypatch.undo()
            quick(0)
            job.tidy()

    monkeypatch.setattr(ShardWorker, "_fill", overtaken)
    receipt = slow(0)
    assert (receipt.images, receipt.failed) == (3, 1)
    assert not list(tmp_path.glob(".*"))
    part = f"part-000000-{job.key}.parquet"
    assert (tmp_path / part).read_bytes() == (undisturbed / part).read_bytes()


def test_what_is_done_is_not_done_again(run, folder, undisturbed, monkeypatch, capsys):
    monkeypatch.setattr(ShardWorker, "_fill", None)
    before = contents(undisturbed)
    result = run_shards(settings(run, undisturbed))  # the images need not be named again
    assert (result.done, result.images, result.localized) == (4, 12, 0)
    assert contents(undisturbed) == before
    assert "12 images, 2 failed (--retry-failed tries them again)  (nothing was left to do)" in str(result)


def test_other_settings_images_weights_and_versions_are_named(run, folder, photos, tmp_path, undisturbed, monkeypatch):
    before = contents(undisturbed)
    with pytest.raises(UserError, match=r"was begun with top_k 2, and this run has 1"):
        run_shards(settings(run, undisturbed, folder, pick=PickConfig(top_k=1)))
    with pytest.raises(UserError, match="was begun with maps true, and this run has false"):
        run_shards(settings(run, undisturbed, folder, maps=False))
    with pytest.raises(UserError, match=r"manifest.parquet lists other images: made from .*, and this run names"):
        run_shards(settings(run, undisturbed, photos))
    other = wsl.Localizer("tinynet", classes=["blue", "red"], weights="none")
    save(other, tmp_path / "other" / "model.safetensors")
    with pytest.raises(UserError, match=r"was begun with (image_size|weights)"):
        run_shards(settings(tmp_path / "other", undisturbed, folder))
    monkeypatch.setattr("wsl.inference.opening.__version__", "0.0.9")
    with pytest.raises(UserError, match=r"was begun with version \d\S+, and this run has 0\.0\.9"):
        run_shards(settings(run, undisturbed, folder))
    assert contents(undisturbed) == before


def test_a_worker_of_another_version_refuses_the_job(run, folder, tmp_path, monkeypatch):
    config = settings(run, tmp_path, folder)
    job = Job.begin(config, OpenedModel.open(config))
    monkeypatch.setattr("wsl.inference.opening.__version__", "0.0.9")
    with pytest.raises(UserError, match=r"this run has 0\.0\.9"):
        ShardWorker(job)(0)


def test_parts_of_others_are_not_mixed(run, folder, copied):
    key = json.loads((copied / "localize.json").read_text(encoding="utf-8"))["key"]
    shutil.copy(copied / f"part-000001-{key}.parquet", copied / "part-000001-0123456789ab.parquet")
    with pytest.raises(UserError, match=rf"holds parts of another run, such as part-000001-01.*run's end in {key}"):
        run_shards(settings(run, copied, folder))
    with pytest.raises(UserError, match="holds parts of 2 runs"):
        list(read_localizations(copied))


def test_runs_with_and_without_an_engine_are_not_mixed(run, folder, tmp_path, undisturbed):
    plain = LocalizeConfig(sources=(str(folder),), weights=str(run), out=undisturbed, runtime=CPU, overwrite=True)
    with pytest.raises(UserError, match="holds a run in shards: expected --engine"):
        run_localize(plain)
    (tmp_path / "localizations.jsonl.partial").touch()
    with pytest.raises(UserError, match="is of a run without --engine"):
        run_shards(settings(run, tmp_path, folder))


def test_a_record_or_manifest_that_says_nothing(run, folder, tmp_path, copied):
    (copied / "localize.json").write_text("{}")
    with pytest.raises(UserError, match="does not say how the parts beside it were made"):
        run_shards(settings(run, copied, folder))
    (copied / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is not a manifest of wsl-localize"):
        run_shards(settings(run, copied, folder))
    part = next(copied.glob("part-000000-*"))
    shutil.copy(part, copied / "manifest.parquet")
    with pytest.raises(UserError, match=r"is not a manifest of wsl-localize \(KeyError"):
        run_shards(settings(run, copied, folder))
    with pytest.raises(UserError, match="no such manifest: name the images"):
        run_shards(settings(run, tmp_path / "new"))


def test_a_broken_part_is_named(run, folder, undisturbed, copied):
    (copied / "_SUCCESS").unlink()
    part = next(copied.glob("part-000002-*"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match=r"part-000002-\S+ is not a part of wsl-localize .*: remove it, and it is made"):
        run_shards(settings(run, copied, folder))
    part.unlink()
    run_shards(settings(run, copied, folder))
    assert contents(copied) == contents(undisturbed)


def test_a_full_disk_in_the_middle_of_a_part(run, folder, tmp_path, undisturbed, monkeypatch, capsys):
    close = PartWriter.close

    def full(self, known):
        if known["shard"] == 2:
            self.file.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        close(self, known)

    monkeypatch.setattr(PartWriter, "close", full)
    flags = [str(folder), "--weights", str(run), "--out", str(tmp_path), "--engine", "local", "--shard-size", "4"]
    flags += ["--batch-size", "2", "--maps", "--top-k", "2", "--device", "cpu", "--precision", "fp32", "--workers", "0"]
    assert cli.localize(flags) == 1
    assert "no space left on the disk" in capsys.readouterr().err
    assert sorted(path.name[:11] for path in tmp_path.glob("part-*")) == ["part-000000", "part-000001"]
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    assert cli.localize(flags) == 0
    assert "all shards are done" in capsys.readouterr().out
    assert contents(tmp_path) == contents(undisturbed)


def test_the_command_line(run, folder, tmp_path, capsys):
    flags = ["--weights", str(run), "--out", str(tmp_path), "--engine", "array", "--device", "cpu"]
    assert cli.localize([str(folder), *flags, "--manifest-only", "--shard-size", "5"]) == 0
    assert capsys.readouterr().out == f"14 images in 3 shards\n{tmp_path / 'manifest.parquet'}\n"
    assert cli.localize([*flags, "--shard", "2/3"]) == 0
    assert "1 of 3 shards are done" in capsys.readouterr().out
    assert cli.localize([*flags, "--dry-run"]) == 0
    assert "14 images in 3 shards, 1 of them done: " in capsys.readouterr().out
    assert cli.localize([*flags, "--shard", "2/3", "--overwrite"]) == 2
    assert "each task would remove what the others did" in capsys.readouterr().err
    assert cli.localize([str(folder / "val0*.png"), *flags, "--manifest-only", "--overwrite"]) == 0
    assert "10 images in 1 shards" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.parquet"]
    assert cli.localize([str(folder / "list.txt"), "--weights", str(run), "--out", str(tmp_path / "plain")]) == 2
    assert "expected --engine local, which reads them" in capsys.readouterr().err


def test_strict_stops_at_the_first_failure(run, folder, tmp_path):
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=0, strict=True)
    with pytest.raises(BadImageError, match=r"val02\.png: not a picture"):
        run_shards(settings(run, tmp_path, folder, runtime=runtime))


def test_labels_of_a_data_set_travel_in_the_manifest(run, world, tmp_path):
    from wsl.config import DataConfig

    options = {"data": DataConfig(data=world), "split": "val", "labels": True, "pick": PickConfig()}
    run_shards(settings(run, tmp_path, **options))
    known = {sample.id: set(sample.labels) for sample in wsl.data.read_voc(world, "val").samples}
    assert {one.id: set(one.points) for one in read_localizations(tmp_path)} == known


def test_images_in_tars_and_lists_are_those_of_the_folder(run, folder, tmp_path, undisturbed):
    tar = tmp_path / "images.tar"
    with tarfile.open(tar, "w") as archive:
        for name in NAMES:
            archive.add(folder / f"{name}.png", f"deep/{name}.png")
    (folder / "list.txt").write_text("".join(f"{name}.png\n" for name in NAMES))
    expected = [(one.id, one.to_json()["scores"]) for one in read_localizations(undisturbed)]
    for source in (tar, folder / "list.txt"):
        out = tmp_path / source.suffix
        result = run_shards(settings(run, out, source, maps=False))
        assert (result.images, result.failed) == (12, 2)
        assert [(one.id, one.to_json()["scores"]) for one in read_localizations(out)] == expected
    (folder / "list.txt").unlink()
    assert {one.path.parent for one in read_localizations(tmp_path / ".tar")} == {tar / "deep"}


def test_a_tar_that_ends_early(run, folder, tmp_path):
    """Before the manifest it is refused; after it, the images behind its end fail."""
    tar = tmp_path / "images.tar"
    with tarfile.open(tar, "w") as archive:
        for name in NAMES:
            archive.add(folder / f"{name}.png", f"{name}.png")
    whole = tar.read_bytes()
    make_job_manifest(settings(run, tmp_path / "out", tar, manifest_only=True))
    rows = Manifest.read(Storage(tmp_path / "out")).shard(1)
    tar.write_bytes(whole[: rows[1].offset + 10])
    result = run_shards(settings(run, tmp_path / "out", tar))
    assert (result.images, result.failed) == (4, 10)
    import pyarrow.parquet as pq

    (error,) = pq.read_table(next((tmp_path / "out").glob("part-000001*")))["error"].to_pylist()[1:2]
    assert "images.tar ends early, expected" in error
    with pytest.raises(UserError, match=r"images\.tar: ends early, or is not a tar"):
        run_shards(settings(run, tmp_path / "new", tar))
    assert not (tmp_path / "new" / "manifest.parquet").exists()


def test_shards_that_no_process_survives_are_a_failed_run(run, folder, tmp_path, monkeypatch):
    def lost(self, process_shard, shards):
        yield process_shard(shards[0])
        raise RunError("shard 1 ended its process 3 times")

    monkeypatch.setattr(LocalEngine, "run", lost)
    with pytest.raises(RunError, match="shard 1"):
        run_shards(settings(run, tmp_path, folder))
    assert not (tmp_path / "_SUCCESS").exists()


def test_a_machine_without_the_images_writes_no_parts_full_of_failures(run, photos, tmp_path):
    folder = tmp_path / "disk"
    shutil.copytree(photos, folder)
    config = settings(run, tmp_path / "out", folder, shard_size=16)
    make_job_manifest(config)
    folder.rename(tmp_path / "not mounted")
    with pytest.raises(RunError, match=r"not one of the 16 images from .*train00\.png on could be fetched"):
        run_shards(config)
    assert not list((tmp_path / "out").glob("*part-*"))
    (tmp_path / "not mounted").rename(folder)
    assert run_shards(config).images == 64


def test_a_plan_before_there_is_anything(run, folder, tmp_path):
    plan = plan_shards(settings(run, tmp_path / "out", folder))
    assert (plan.images, plan.shards, plan.done, plan.seconds) == (14, 4, 0, None)
    assert "0 of them done: the time can be estimated after the first shard" in str(plan)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no such manifest"):
        plan_shards(settings(run, tmp_path / "out"))


def test_the_time_left_is_that_of_the_gaps_between_parts(run, folder, copied):
    import os

    (copied / "_SUCCESS").unlink()
    parts = sorted(copied.glob("part-*"))
    for part, second in zip(parts, (1000, 1010, 5000, 5020), strict=True):
        os.utime(part, (second, second))
    assert plan_shards(settings(run, copied)).seconds == 0
    parts[3].unlink()
    os.utime(copied / "localize.json", (900, 900))
    plan = plan_shards(settings(run, copied))
    assert (plan.done, plan.seconds) == (3, 3990)
    for part in parts[1:3]:
        part.unlink()
    plan = plan_shards(settings(run, copied))
    assert (plan.done, plan.seconds) == (1, 300)
    assert "1 of them done: 5.0 min left at the pace so far" in str(plan)


def test_an_image_that_hangs_is_a_row(run, folder, tmp_path, monkeypatch):
    import threading

    import pyarrow.parquet as pq

    from wsl.formats.shards.fetch import Fetcher

    fetch, release = Fetcher.__call__, threading.Event()

    def hangs(self, row):
        if row.id == "val05":
            release.wait()
        return fetch(self, row)

    monkeypatch.setattr(Fetcher, "__call__", hangs)
    result = run_shards(settings(run, tmp_path, folder, image_seconds=1.0))
    release.set()
    assert (result.images, result.failed) == (11, 3)
    errors = pq.read_table(next(tmp_path.glob("part-000001-*")))["error"].to_pylist()
    assert [error is None for error in errors] == [True, False, True, True]
    assert errors[1].endswith("val05.png: took longer than 1 s to be fetched")


def test_a_plan_is_made_where_the_workers_device_is_missing(run, folder, copied):
    record = json.loads((copied / "localize.json").read_text(encoding="utf-8"))
    elsewhere = {**record["identity"], "device": "cuda"}
    (copied / "localize.json").write_text(json.dumps({**record, "identity": elsewhere}), encoding="utf-8")
    for path in copied.glob("part-*"):
        path.unlink()
    runtime = RuntimeConfig(device="cuda", precision="fp32", workers=0)
    assert plan_shards(settings(run, copied, runtime=runtime)).done == 0
    with pytest.raises(UserError, match="was begun with device cuda, and this run has cpu"):
        run_shards(settings(run, copied))


def test_an_engine_says_what_its_machines_are_and_workers_look(run, folder, tmp_path, monkeypatch):
    from wsl.inference.opening import Machine

    monkeypatch.setattr(LocalEngine, "machine", lambda self, runtime: Machine("cuda", "bfloat16"))
    with pytest.raises(UserError, match=r"was begun with batch_size|was begun with device cuda, and this run has cpu"):
        run_shards(settings(run, tmp_path, folder))
    record = json.loads((tmp_path / "localize.json").read_text(encoding="utf-8"))
    assert (record["identity"]["device"], record["identity"]["precision"]) == ("cuda", "bfloat16")


WRONG = {
    "no such image": (["nowhere"], []),
    "no such image beside others": (["PHOTOS", "nowhere"], []),
    "only the list of images": (["nowhere"], ["--manifest-only"]),
    "only the list for no such model": (["PHOTOS"], ["--manifest-only", "--weights", "runs/nowhere"]),
    "image size": (["PHOTOS"], ["--image-size", "7"]),
    "device": (["PHOTOS"], ["--device", "mps"]),
    "precision": (["PHOTOS"], ["--precision", "fp16"]),
    "no share": (["PHOTOS"], ["--engine", "array"]),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.quick("name", ["no such image beside others", "device", "no share"])
def test_what_is_refused_leaves_nothing_and_replaces_nothing(name, run, folder, tmp_path, copied, capsys):
    sources, flags = WRONG[name]
    args = [str(folder) if one == "PHOTOS" else str(tmp_path / one) for one in sources]
    args += ["--weights", str(run), "--engine", "local", "--device", "cpu", *flags]
    assert cli.localize([*args, "--out", str(tmp_path / "new" / "deep")]) == 2
    assert not (tmp_path / "new").exists()
    before = contents(copied)
    assert cli.localize([*args, "--out", str(copied), "--overwrite"]) == 2
    assert contents(copied) == before


def test_overwriting_without_images_is_refused(run, copied):
    with pytest.raises(UserError, match="--overwrite without images"):
        run_shards(settings(run, copied, overwrite=True))


def test_labels_that_the_model_lacks_are_refused_before_anything_is_written(world, tmp_path):
    from wsl.config import DataConfig

    save(wsl.Localizer("tinynet", classes=["green"], weights="none"), tmp_path / "green" / "model.safetensors")
    options = {"data": DataConfig(data=world), "split": "val", "labels": True, "pick": PickConfig()}
    for make in (run_shards, make_job_manifest, plan_shards):
        with pytest.raises(UserError, match=r"green knows no class 'blue'; it knows green"):
            make(settings(tmp_path / "green", tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()
