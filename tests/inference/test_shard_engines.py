"""What every engine promises: each shard once, whatever dies."""

import sys
from pathlib import Path

import pytest

from wsl.config import LocalizeConfig, ShardConfig
from wsl.errors import RunError, UserError
from wsl.inference.shards.engines import ENGINES, create_engine
from wsl.inference.shards.engines.array import ArrayEngine, slurm_share
from wsl.inference.shards.engines.local import LocalEngine
from wsl.inference.shards.receipt import Receipt

no_sigkill = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.fixture
def deadly(monkeypatch):
    """The class, where processes that are started find it, too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import shard_crashes

    return shard_crashes.Deadly


def test_two_processes_do_each_shard_once(deadly, tmp_path):
    receipts = list(LocalEngine([{}, {"A": "1"}]).run(deadly(tmp_path, {}), [3, 5, 8, 9]))
    assert sorted(receipts) == [Receipt(shard, 2, shard, 0, 1.0) for shard in (3, 5, 8, 9)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3-0", "5-0", "8-0", "9-0"]


@no_sigkill
def test_a_process_that_dies_costs_one_attempt_at_one_shard(deadly, tmp_path):
    receipts = list(LocalEngine([{"A": "1"}]).run(deadly(tmp_path, {1: 1, 2: 2}), range(4)))
    assert sorted(receipt.shard for receipt in receipts) == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0", "1-0", "1-1", "2-0", "2-1", "2-2", "3-0"]


@no_sigkill
def test_a_shard_that_always_kills_is_named_when_the_others_are_done(deadly, tmp_path):
    receipts = []
    with pytest.raises(RunError, match=r"shard 1 ended its process 3 times \(exit code -9\), 1 such"):
        receipts.extend(LocalEngine([{"A": "1"}]).run(deadly(tmp_path, {1: 9}), range(3)))
    assert {path.name for path in tmp_path.iterdir()} == {"0-0", "1-0", "1-1", "1-2", "2-0"}


def test_an_error_comes_through(deadly, tmp_path):
    with pytest.raises(ValueError, match="shard 99 is not to be had"):
        list(LocalEngine([{"A": "1"}]).run(deadly(tmp_path, {}), [99]))


def test_who_stops_listening_ends_the_processes(deadly, tmp_path):
    receipts = LocalEngine([{"A": "1"}]).run(deadly(tmp_path, {}), range(100_000))
    next(receipts)
    receipts.close()
    assert len(list(tmp_path.iterdir())) < 100_000


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shares_of_an_array_are_all_shards_once_whatever_is_done(count):
    for shards in (range(20), [2, 3, 11, 13]):
        shares = [ArrayEngine(index, count).share(shards) for index in range(count)]
        assert sorted(shard for share in shares for shard in share) == list(shards)


def slurm(**values):
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_a_task_of_slurm_knows_its_share():
    assert slurm_share(slurm(ID=0, MIN=0, MAX=3, COUNT=4)) == (0, 4)
    assert slurm_share(slurm(ID=8, MIN=1, MAX=8, COUNT=8)) == (7, 8)
    assert slurm_share(slurm(ID=14, MIN=10, MAX=16, COUNT=4, STEP=2)) == (2, 4)
    with pytest.raises(UserError, match="array with gaps"):
        slurm_share(slurm(ID=7, MIN=3, MAX=7, COUNT=2))
    with pytest.raises(UserError, match=r"--shard I/N, or a task of a Slurm array"):
        slurm_share({})


def config(**sharding):
    return LocalizeConfig(sources=("a.jpg",), weights="resnet50", out="found", sharding=ShardConfig(**sharding))


def test_settings_name_the_engine():
    assert create_engine(config(engine="array", shard="2/3")) == ArrayEngine(1, 3)
    assert set(ENGINES) == {"local", "array", "ray"}
    with pytest.raises(UserError, match="engine is 'None', expected one of local, array, ray"):
        create_engine(config())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "array", "shard": "0/3"}, "shard is '0/3', expected I/N from 1/N to N/N"),
        ({"engine": "array", "shard": "4/3"}, "expected I/N"),
        ({"engine": "array", "shard": "3"}, "expected I/N"),
        ({"engine": "local", "shard": "1/3"}, "expected --engine array"),
        ({"shard": "1/3"}, "expected --engine too"),
        ({"manifest_only": True}, "expected --engine too"),
        ({"engine": "array", "processes": 3}, "expected more tasks instead"),
        ({"engine": "local", "processes": 0}, "processes are 0"),
        ({"engine": "ray", "decoders": 0}, "decoders are 0, expected 1 or more"),
        ({"engine": "array", "decoders": 3}, "expected --engine ray"),
        ({"shard_size": 0}, "shard size is 0"),
        ({"engine": "local", "image_seconds": 0.0}, "image seconds are 0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        ShardConfig(**settings)


def test_ray_is_asked_for_only_where_it_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'wsl-toolkit\[ray\]'"):
        create_engine(config(engine="ray"))
