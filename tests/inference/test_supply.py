"""Workers whose images are prepared elsewhere, as by the decoders of a Ray cluster: the same parts, without Ray."""

import dataclasses
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from wsl import cli
from wsl.config import LocalizeConfig, PickConfig, Preprocessing, RuntimeConfig, ShardConfig
from wsl.errors import BadImageError, RunError, UserError
from wsl.images.rows import ImageRow
from wsl.inference.identity import check_identity
from wsl.inference.opening import Machine, OpenedModel
from wsl.inference.preparing import Preparer
from wsl.inference.shards import Job, ShardWorker
from wsl.inference.shards.engines.array import ArrayEngine
from wsl.inference.shards.engines.local import LocalEngine
from wsl.inference.shards.engines.on_ray import RayEngine
from wsl.inference.shards.engines.ray_decoders import RayDecoders
from wsl.inference.shards.supply import FetchingThreads, Wanted, prepared
from wsl.models import save
from wsl.verbs.localize_shards import plan_shards

pytest.importorskip("pyarrow")


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Prepares images as tasks do, in this process."""

    seconds: float = 60.0

    def __call__(self, wanted, preparer):
        yield from pickle.loads(pickle.dumps(prepared(wanted, preparer.on_cpu, self.seconds)))  # noqa: S301 - our own


@pytest.fixture
def place(tinynet, photos, encoded, tmp_path):
    """A run and a folder of images, of which one cannot be read."""
    save(tinynet, tmp_path / "run" / "model.safetensors")
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate([*photos, *photos]):
        (tmp_path / "photos" / f"{number:02}.png").write_bytes(encoded(photo))
    (tmp_path / "photos" / "03.png").write_text("text")
    return tmp_path


def settings(place, name="out", **sharding):
    return LocalizeConfig(
        sources=(str(place / "photos"),),
        weights=str(place / "run"),
        out=place / name,
        sharding=ShardConfig(**{"engine": "ray", "shard_size": 12, **sharding}),
        runtime=RuntimeConfig(device="cpu", precision="fp32"),
        batch_size=4,
        maps=True,
        pick=PickConfig(top_k=2),
    )


def worker(config, supply=None):
    opened = OpenedModel.open(config)
    return ShardWorker(Job.begin(config, opened), opened, supply=supply)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != "localize.json"}


def test_images_prepared_elsewhere_make_the_same_parts(place, caplog):
    receipts = []
    for name, supply, decoders in (("own", None, None), ("elsewhere", Elsewhere(), 2)):
        receipts.append(worker(settings(place, name, decoders=decoders), supply)(0)._replace(seconds=0.0))
    assert receipts[0] == receipts[1]
    assert (receipts[0].images, receipts[0].failed) == (11, 1)
    assert contents(place / "own") == contents(place / "elsewhere")
    first, second = (record.getMessage() for record in caplog.records if "failed: " in record.getMessage())
    assert first == second
    assert "03.png: not a picture in a known format" in first


def test_a_worker_is_pickled_with_its_supply(place):
    sent = pickle.loads(pickle.dumps(worker(settings(place), RayDecoders(2, 5.0))))  # noqa: S301 - our own
    assert sent.supply == RayDecoders(2, 5.0)
    assert pickle.loads(pickle.dumps(worker(settings(place)))).supply is None  # noqa: S301 - our own


def test_images_that_no_one_can_fetch_are_a_failed_run(place):
    work = worker(settings(place, decoders=2), Elsewhere())
    (place / "photos").rename(place / "not mounted")
    with pytest.raises(RunError, match=r"not one of the 12 images from .*png on could be fetched"):
        work(0)


def test_a_strict_run_stops_at_an_image_that_cannot_be_decoded_elsewhere(place):
    config = settings(place)
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, strict=True))
    with pytest.raises(BadImageError, match=r"03\.png: not a picture"):
        worker(config, Elsewhere())(0)


def test_prepared_images_leave_their_files_behind(place):
    preparer = Preparer(preprocessing=Preprocessing(image_size=64), max_pixels=10**6, classes={"cat": 0})
    wanted = [Wanted(ImageRow(str(place / "photos" / f"0{number}.png"), "a"), ("cat",)) for number in (0, 3)]
    (source, broken), (sent, error) = FetchingThreads(5.0)(wanted, preparer), prepared(wanted, preparer, 5.0)
    assert (source.classes, sent.classes, sent.image) == (("cat",), ("cat",), None)
    assert np.array_equal(sent.pixels, preparer(source).pixels)
    assert str(error) == str(preparer.attempt(broken))
    with pytest.raises(UserError, match="knows no class 'dog'"):
        prepared([wanted[0]._replace(classes=("dog",))], preparer, 5.0)


def test_decoders_leave_the_identity_of_results_on_a_cpu(place):
    opened = [OpenedModel.open(settings(place, decoders=decoders)) for decoders in (None, 1, 2)]
    on_cpu, on_gpu = (
        [dataclasses.replace(one, machine=Machine(device, "float32")).identity for one in opened]
        for device in ("cpu", "cuda")
    )
    assert on_cpu[0] == on_cpu[1] == on_cpu[2]
    assert "decoding" not in {**on_cpu[0], **on_gpu[0]}
    assert on_gpu[1] == on_gpu[2] == {**on_gpu[0], "decoding": "cpu"}
    with pytest.raises(UserError, match="was begun with decoding null, and this run has cpu"):
        check_identity(on_gpu[0], on_gpu[1], "found")


def test_decoders_of_letterboxed_images_do_what_a_gpu_run_does(new_model, place):
    save(new_model("tinynet", preprocessing={"resize": "letterbox"}), place / "run" / "model.safetensors")
    opened = OpenedModel.open(settings(place, decoders=2))
    assert "decoding" not in dataclasses.replace(opened, machine=Machine("cuda", "float32")).identity


@pytest.mark.parametrize(
    ("engine", "cluster", "actors"),
    [
        (RayEngine(None, 0, 1, decoders=2), {"CPU": 8.0}, 7),
        (RayEngine(8, 0, 1, decoders=2), {"CPU": 8.0}, 7),
        (RayEngine(3, 0, 1, decoders=2), {"CPU": 8.0}, 3),
        (RayEngine(None, 0, 1), {"CPU": 8.0}, 8),
        (RayEngine(None, 1, 0, decoders=2), {"CPU": 1.0, "GPU": 4.0}, 4),
    ],
)
def test_actors_on_the_cpu_leave_a_core_to_decoders(engine, cluster, actors):
    engine.check_cores(cluster)
    assert engine._most_actors(cluster) == actors


def test_a_cluster_without_a_core_for_decoders_is_refused():
    told = r"cores is 1, expected 2 or more with --decoders, one of which an actor takes: add a machine .* or leave out"
    with pytest.raises(UserError, match=told):
        RayEngine(None, 0, 1, decoders=2).check_cores({"CPU": 1.0})
    with pytest.raises(UserError, match="cores is 0, expected 1 or more with --decoders: add a machine"):
        RayEngine(None, 1, 0, decoders=2).check_cores({"GPU": 1.0})
    RayEngine(None, 0, 1).check_cores({"CPU": 1.0})


def test_engines_say_where_images_come_from():
    assert LocalEngine().supply() is ArrayEngine(0, 1).supply() is RayEngine(None, 0, 1).supply() is None
    assert RayEngine(None, 0, 1, decoders=3, seconds=5.0).supply() == RayDecoders(3, 5.0)


def test_a_plan_starts_no_decoders(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert plan_shards(settings(place, decoders=2)) == plan_shards(settings(place, engine="local"))


def test_the_flag_belongs_to_ray(place, capsys):
    args = [str(place / "photos"), "--weights", str(place / "run"), "--out", str(place / "out")]
    for more in (["--decoders", "2"], ["--engine", "local", "--decoders", "2"]):
        assert cli.localize([*args, *more]) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "--decoders 2 starts tasks on a Ray cluster: expected --engine ray" in told
    assert cli.localize([*args, "--engine", "ray", "--decoders", "2", "--dry-run"]) == 0
    assert "12 images in 1 shards" in capsys.readouterr().out
