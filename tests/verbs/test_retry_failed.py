"""wsl-localize --retry-failed: failed images are tried again, and each part is the old one or the new one."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from wsl import cli
from wsl.config import LocalizeConfig, RuntimeConfig, ShardConfig
from wsl.errors import UserError
from wsl.files.whole import _host
from wsl.formats import read_localizations
from wsl.inference.opening import OpenedModel
from wsl.inference.shards import Job, ShardWorker
from wsl.inference.shards.engines.local import LocalEngine
from wsl.verbs.localize_shards import plan_shards, run_shards

pytest.importorskip("pyarrow")
NAMES = [f"val{i:02}.png" for i in range(6)]
BAD = ("val01.png", "val04.png")


@pytest.fixture
def folder(copy_photos, tmp_path):
    """Six images, two a shard, of which two cannot be read yet."""
    place = tmp_path / "images"
    place.mkdir()
    return copy_photos(place, NAMES, dict.fromkeys(BAD, b""))


@pytest.fixture
def repair(copy_photos, folder):
    return lambda: copy_photos(folder, BAD, {})


def settings(run, out, folder, *, retry=False, **options):
    sharding = ShardConfig(engine="local", shard_size=2, retry_failed=retry)
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=0)
    options = {"maps": True, "batch_size": 2, **options}
    return LocalizeConfig(
        sources=(str(folder),), weights=str(run), out=out, runtime=runtime, sharding=sharding, **options
    )


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "localize.json"}


def totals(out):
    record = json.loads((out / "_SUCCESS").read_text(encoding="utf-8"))
    return record["images"], record["failed"]


def test_shards_with_failed_images_are_done_again(run, folder, repair, tmp_path):
    out, first = tmp_path / "out", settings(run, tmp_path / "out", folder)
    assert "2 failed (--retry-failed tries them again)" in str(run_shards(first))
    assert totals(out) == (4, 2)
    repair()
    assert run_shards(first).localized == 0  # unasked, what is there stays
    again = settings(run, out, folder, retry=True)
    plan = plan_shards(again)
    assert (plan.shards, plan.done) == (3, 1)
    result = run_shards(again)
    assert (result.images, result.failed, result.localized, totals(out)) == (6, 0, 4, (6, 0))
    run_shards(settings(run, tmp_path / "whole", folder))
    assert contents(out) == contents(tmp_path / "whole")
    assert run_shards(again).localized == 0


def test_images_that_fail_again_stay_as_they_were(run, folder, tmp_path):
    out = tmp_path / "out"
    run_shards(settings(run, out, folder))
    before = contents(out)
    assert run_shards(settings(run, out, folder, retry=True)).failed == 2
    assert contents(out) == before


def test_a_part_is_kept_where_more_images_fail_than_before(run, folder, tmp_path, caplog):
    out = tmp_path / "out"
    run_shards(settings(run, out, folder))
    before = contents(out)
    (folder / "val00.png").unlink()
    assert run_shards(settings(run, out, folder, retry=True)).failed == 2
    assert "more images fail than before, and the part stays as it was" in caplog.text
    assert contents(out) == before


@pytest.mark.parametrize("image", [1, 2, 3])
@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.quick("image, maps", [(2, False)])
def test_a_stop_at_any_image_leaves_old_parts_or_new_ones(image, maps, run, folder, repair, tmp_path, interrupted_at):
    out = tmp_path / "out"
    run_shards(settings(run, out, folder, maps=maps))
    old = contents(out)
    repair()
    run_shards(settings(run, tmp_path / "whole", folder, maps=maps))
    new = contents(tmp_path / "whole")
    with interrupted_at(image):
        run_shards(settings(run, out, folder, maps=maps, retry=True))
    left = contents(out)
    assert "_SUCCESS" not in left
    assert left.keys() == old.keys() - {"_SUCCESS"}
    assert all(data in (old[name], new[name]) for name, data in left.items())
    assert len(list(read_localizations(out, maps=maps))) in (4, 5)
    unfinished = run_shards(settings(run, out, folder, maps=maps))  # tells of the parts as they are
    assert totals(out) == (unfinished.images, unfinished.failed)
    run_shards(settings(run, out, folder, maps=maps, retry=True))
    assert contents(out) == new


def test_a_stop_between_maps_and_part_leaves_the_shard_to_be_done(run, folder, repair, tmp_path, monkeypatch):
    """New maps beside an old part would be read at the wrong places."""
    out = tmp_path / "out"
    run_shards(settings(run, out, folder))
    repair()
    replace = Path.replace

    def stopped(path, target):
        if Path(target).name.startswith("part-"):
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_shards(settings(run, out, folder, retry=True))
    monkeypatch.undo()
    assert len(list(out.glob("part-*"))) == 2
    run_shards(settings(run, out, folder))
    run_shards(settings(run, out, folder, retry=True))
    run_shards(settings(run, tmp_path / "whole", folder))
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.long
def test_a_killed_process_costs_one_attempt(run, folder, repair, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "inference"))
    import shard_crashes

    out = tmp_path / "out"
    config = settings(run, out, folder)
    run_shards(config)
    repair()
    worker = ShardWorker(Job.begin(config, OpenedModel.open(config)), again=frozenset({0, 2}))
    work = shard_crashes.DiesAtAnImage(worker, tmp_path / "died", image=2)
    receipts = list(LocalEngine([{"OMP_NUM_THREADS": "1"}]).run(work, [0, 2]))
    assert (tmp_path / "died").exists()
    assert sum(receipt.failed for receipt in receipts) == 0
    (out / "_SUCCESS").unlink()
    run_shards(config)
    assert totals(out) == (6, 0)


@pytest.mark.parametrize("days", [-1, 0, 1])
@pytest.mark.quick("days", [-1])
def test_another_run_removes_the_files_of_dead_workers_alone(run, folder, repair, tmp_path, monkeypatch, days):
    """By host and process id: the clock of a machine may be a day slow or fast."""
    out = tmp_path / "out"
    config = settings(run, out, folder)
    run_shards(config)
    repair()
    job = Job.begin(config, OpenedModel.open(config))
    dead = [f".{job.name(0).maps[:-4]}.wsl-{_host()}-{2**31 - 1}{end}" for end in (".npy", ".anew.npy")]
    elsewhere = [f".{job.name(2).maps[:-4]}.wsl-01234567-7{end}" for end in (".npy", ".anew.npy")]
    fill, living = ShardWorker._fill, []

    def meanwhile(self, part, predictor, rows):
        fill(self, part, predictor, rows)
        monkeypatch.undo()
        living.extend(path.name for path in out.glob(".maps*"))
        for name in (*dead, *elsewhere):
            (out / name).touch()
        for path in out.glob(".*"):
            os.utime(path, (time.time() + days * 86400,) * 2)
        run_shards(config)
        # The part of the other host exists, and only a worker that does it again needs its file.
        assert {path.name for path in out.glob(".*")} == {*living, elsewhere[1]}

    monkeypatch.setattr(ShardWorker, "_fill", meanwhile)
    run_shards(settings(run, out, folder, retry=True))
    assert len(living) == 1
    (out / elsewhere[1]).unlink()
    run_shards(settings(run, tmp_path / "whole", folder))
    assert contents(out) == contents(tmp_path / "whole")
    assert totals(out) == (6, 0)


def test_the_command_line(run, folder, repair, tmp_path, capsys):
    command = [str(folder), "--weights", str(run), "--out", str(tmp_path / "out"), "--engine", "local", "--device"]
    command += ["cpu", "--shard-size", "2"]
    assert cli.localize(command) == 0
    repair()
    assert cli.localize([*command, "--retry-failed"]) == 0
    assert "6 images  (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sharding", "options", "message"),
    [
        ({"retry_failed": True}, {}, "expected --engine too"),
        ({"retry_failed": True, "engine": "array", "shard": "1/2"}, {}, "expected --engine local or ray"),
        ({"retry_failed": True, "engine": "local", "manifest_only": True}, {}, "no --manifest-only"),
        ({"retry_failed": True, "engine": "local"}, {"overwrite": True}, "both --retry-failed and --overwrite"),
    ],
)
def test_settings_that_cannot_be(sharding, options, message):
    with pytest.raises(UserError, match=message):
        LocalizeConfig(sources=("a",), weights="run", out=Path("out"), sharding=ShardConfig(**sharding), **options)
