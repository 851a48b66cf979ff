"""Ray's actors, and object stores: the bytes of every engine and every place are the same (`make engines`)."""

import dataclasses
import errno
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from wsl import cli
from wsl.cli.running import _explain
from wsl.config import (
    DataConfig,
    LocalizeConfig,
    PickConfig,
    Preprocessing,
    RasterConfig,
    RuntimeConfig,
    ShardConfig,
)
from wsl.errors import BadImageError, RunError, UserError
from wsl.formats import read_localizations
from wsl.formats.shards import storage as storage_module
from wsl.formats.shards.manifest import MANIFEST
from wsl.formats.shards.parts import SUCCESS
from wsl.formats.shards.storage import Storage
from wsl.images.rows import ImageRow
from wsl.inference.opening import OpenedModel
from wsl.inference.preparing import Preparer
from wsl.inference.shards import Job, ShardWorker, create_engine
from wsl.inference.shards.engines import ray_decoders
from wsl.inference.shards.engines.local import LocalEngine
from wsl.inference.shards.engines.on_ray import RayEngine
from wsl.inference.shards.engines.ray_decoders import RayDecoders
from wsl.inference.shards.supply import Wanted, prepared
from wsl.models import save
from wsl.verbs.localize_shards import plan_shards, run_shards

CPU = RuntimeConfig(device="cpu", precision="fp32")
IMAGES, SIZE = 40, 4
CLASSES = ("cat", "dog", "cow", "pig")


@pytest.fixture(scope="module")
def place(new_model, tmp_path_factory):
    """A model, and images of which one cannot be read."""
    root, rng = tmp_path_factory.mktemp("engines"), np.random.default_rng(0)
    save(new_model("tinynet"), root / "run" / "model.safetensors")
    (root / "photos").mkdir()
    for number in range(IMAGES):
        height, width = rng.integers(30, 90, 2)
        cv2.imwrite(str(root / "photos" / f"{number:02}.png"), rng.integers(0, 255, (height, width, 3), np.uint8))
    (root / "photos" / "07.png").write_text("text")
    return root


def settings(place, out, *sources, **sharding):
    sources = sources or (str(place / "photos"),)
    sharding = ShardConfig(**{"engine": "local", "shard_size": SIZE, **sharding})
    return LocalizeConfig(
        sources=sources,
        weights=str(place / "run"),
        out=Path(out),
        sharding=sharding,
        runtime=CPU,
        batch_size=2,
        maps=True,
        pick=PickConfig(top_k=2),
    )


def contents(folder):
    storage = Storage(folder)
    return {name: storage.read(name) for name in storage.names() if name != "localize.json"}


@pytest.fixture(scope="module")
def undisturbed(place):
    run_shards(settings(place, place / "local"))
    return contents(place / "local")


@pytest.fixture(scope="module", autouse=True)
def rights():
    """What the store asks for, and workers of Ray inherit."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(keys)
    yield
    for key in keys:
        del os.environ[key]


@pytest.fixture(scope="module")
def ray(rights):
    """A cluster of two cores, whose workers find the modules of these tests."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    before = os.environ.get("PYTHONPATH", "")
    root = Path(__file__).parents[2]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(root), before])
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # what Ray will do by default, and warns of
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def crashes(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import shard_crashes

    return shard_crashes


pytestmark = pytest.mark.filterwarnings("default")  # Ray's own are no errors of ours


def test_ray_makes_the_bytes_of_the_local_engine(ray, place, undisturbed):
    result = run_shards(settings(place, place / "ray", engine="ray", processes=2))
    assert (result.done, result.shards, result.localized) == (10, 10, IMAGES)
    assert contents(place / "ray") == undisturbed


@pytest.mark.parametrize("image", [1, 2, 4])
def test_an_actor_that_is_killed_costs_one_shard(ray, place, undisturbed, image, crashes, tmp_path):
    config = settings(place, tmp_path / "out", engine="ray", processes=2)
    job = Job.begin(config, OpenedModel.open(config))
    work = crashes.DiesAtAnImage(ShardWorker(job), tmp_path / "died", image)
    receipts = list(RayEngine(actors=2, gpus=0, cpus=1).run(work, range(10)))
    assert (tmp_path / "died").exists()
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert run_shards(config).localized == 0
    assert contents(tmp_path / "out") == undisturbed


def test_cpu_tasks_that_decode_make_the_same_bytes(ray, place, undisturbed):
    config = settings(place, place / "decoded", engine="ray", decoders=2, processes=2)
    result = run_shards(config)
    assert (result.done, result.shards, result.failed, result.localized) == (10, 10, 1, IMAGES)
    assert contents(place / "decoded") == undisturbed
    assert run_shards(settings(place, place / "decoded", engine="ray")).localized == 0  # each engine's are the same


def test_shards_of_several_tasks_make_the_same_bytes(ray, place, tmp_path):
    run_shards(settings(place, tmp_path / "local", shard_size=IMAGES))
    run_shards(settings(place, tmp_path / "ray", shard_size=IMAGES, engine="ray", decoders=3))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_an_actor_with_decoders_that_is_killed_costs_one_shard(ray, place, undisturbed, crashes, tmp_path):
    config = settings(place, tmp_path / "out", engine="ray", decoders=2)
    engine = create_engine(config)
    job = Job.begin(config, OpenedModel.open(config))
    work = crashes.DiesAtAnImage(ShardWorker(job, supply=engine.supply()), tmp_path / "died", image=2)
    receipts = list(engine.run(work, range(10)))
    assert (tmp_path / "died").exists()
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert run_shards(config).localized == 0
    assert contents(tmp_path / "out") == undisturbed


def test_a_decoder_that_dies_is_started_again(ray, place, undisturbed, crashes, tmp_path):
    config = settings(place, tmp_path / "out", engine="ray", decoders=2)
    engine = create_engine(config)
    job = Job.begin(config, OpenedModel.open(config))
    supply = crashes.DyingDecoders(engine.supply(), tmp_path / "died")
    list(engine.run(ShardWorker(job, supply=supply), range(10)))
    assert (tmp_path / "died").exists()
    assert run_shards(config).localized == 0
    assert contents(tmp_path / "out") == undisturbed


def test_decoders_that_die_each_time_are_told(ray, place, crashes, tmp_path):
    config = settings(place, tmp_path / "out", shard_size=IMAGES)
    supply = crashes.DyingDecoders(RayDecoders(2, 60.0), tmp_path / "died", always=True)
    worker = ShardWorker(Job.begin(config, OpenedModel.open(config)), supply=supply)
    with pytest.raises(RunError, match=r"the 32 images from .*00\.png on ended the process .* 4 times"):
        worker(0)
    assert not list((tmp_path / "out").glob("part-*"))


def test_decoders_localize_the_classes_of_labels(ray, place, tmp_path):
    for number, name in enumerate(("cat", "dog", "pig", "cow")):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        shutil.copy(place / "photos" / f"{number:02}.png", tmp_path / "data" / "val" / name)
    for engine in ({"engine": "local"}, {"engine": "ray", "decoders": 2}):
        config = settings(place, tmp_path / engine["engine"], **engine)
        data = DataConfig(data=tmp_path / "data")
        run_shards(dataclasses.replace(config, sources=(), data=data, labels=True, pick=PickConfig()))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    found = read_localizations(tmp_path / "ray")
    assert {one.path.parent.name: list(one.points) for one in found} == {name: [name] for name in CLASSES}


def test_decoders_give_images_in_order_and_the_errors_of_threads(ray, place, monkeypatch):
    monkeypatch.setattr(ray_decoders, "_CHUNK", 3)
    silent = socket.create_server(("127.0.0.1", 0))
    lost = ImageRow(f"http://127.0.0.1:{silent.getsockname()[1]}/a.png", "lost")
    files = [ImageRow(str(place / "photos" / f"{number:02}.png"), f"{number}") for number in range(IMAGES + 1)]
    wanted = [Wanted(row, ("cat",)) for row in [*files[:5], lost, *files[5:]]]
    preparer = Preparer(preprocessing=Preprocessing(image_size=64), max_pixels=5000, classes={"cat": 0})
    remote, local = list(RayDecoders(2, 1.0)(wanted, preparer)), prepared(wanted, preparer, 1.0)
    silent.close()
    assert len(remote) == len(wanted)
    for one, other in zip(remote, local, strict=True):
        assert type(one) is type(other)
        if isinstance(other, BadImageError):
            assert str(one) == str(other)
        else:
            assert (one.path, one.id, one.classes, one.image) == (other.path, other.id, ("cat",), None)
            assert np.array_equal(one.pixels, other.pixels)
    told = " ".join(str(error) for error in remote if isinstance(error, BadImageError))
    for error in ("took longer than 1 s", "07.png: not a picture", "pixels", "no such"):
        assert error in told


def test_a_cluster_that_reads_no_image_is_told(ray, place, tmp_path):
    shutil.copytree(place / "photos", tmp_path / "disk")
    config = settings(place, tmp_path / "out", str(tmp_path / "disk"), shard_size=IMAGES)
    worker = ShardWorker(Job.begin(config, OpenedModel.open(config)), supply=RayDecoders(2, 60.0))
    (tmp_path / "disk").rename(tmp_path / "not mounted")
    with pytest.raises(RunError, match="not one of the 40 images"):
        worker(0)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (UserError("weights differ: expected the same"), 2, "error: weights differ: expected the same"),
        (RunError("not one image could be fetched"), 1, "failed: not one image could be fetched"),
        (OSError(errno.ENOSPC, "No space", "part-1"), 1, "failed: no space left on the disk: part-1; files"),
    ],
)
def test_an_error_of_an_actor_reads_as_that_of_every_engine(ray, crashes, given, code, message):
    with pytest.raises(type(given)) as raised:
        list(RayEngine(actors=1, gpus=0, cpus=1).run(crashes.Failing(given), range(3)))
    assert type(raised.value) is type(given)
    shown = _explain(raised.value)
    assert (shown[0], shown[1].startswith(message)) == (code, True)


def test_a_strict_run_on_ray_stops_in_one_line(ray, place, tmp_path, capfd):
    flags = ["--weights", str(place / "run"), "--device", "cpu", "--engine", "ray", "--strict", "--processes", "1"]
    assert cli.localize([str(place / "photos"), *flags, "--out", str(tmp_path)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.fullmatch(r"error: \S*07\.png: not a picture.{,200}", errors[0])


def test_errors_of_other_tasks_of_ray_are_raised_as_they_are(ray, place):
    machine = RuntimeConfig(device="cuda:99")
    with pytest.raises(UserError) as raised:
        RayEngine(actors=1, gpus=0, cpus=1).machine(machine)
    assert type(raised.value) is UserError
    preparer = Preparer(preprocessing=Preprocessing(image_size=64), max_pixels=5000, classes={"cat": 0})
    wanted = [Wanted(ImageRow(str(place / "photos" / "00.png"), "0"), ("cow",))]
    with pytest.raises(UserError) as raised:
        list(RayDecoders(1, 10.0)(wanted, preparer))
    assert type(raised.value) is UserError


def test_images_are_cut_into_tiles_by_actors(ray, place, tmp_path):
    for engine in ("local", "ray"):
        config = settings(place, tmp_path / engine, engine=engine)
        run_shards(dataclasses.replace(config, raster=RasterConfig(tile=48, overlap=16)))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.fixture(scope="module")
def s3(place):
    """A server of moto's on loopback with the images in a bucket: the proxy before it, and addresses in it."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    import boto3
    from werkzeug.serving import make_server

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        from failing_proxy import FailingProxy

    application = server.DomainDispatcherApplication(server.create_backend_app)
    http = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    proxy = FailingProxy(http.server_port)
    client = boto3.client("s3", endpoint_url=f"http://{proxy.host}", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    for file in (place / "photos").iterdir():
        client.upload_file(str(file), "bucket", f"photos/{file.name}")
    yield proxy, lambda name: f"s3://bucket/{name}?endpoint_override={proxy.host}&scheme=http&region=us-east-1"
    proxy.close()
    http.shutdown()


def test_a_store_is_a_folder(s3, tmp_path):
    storage = Storage(s3[1]("some/folder"))
    assert (storage.names(), storage.exists("a"), str(storage)) == (set(), False, "s3://bucket/some/folder")
    with storage.writing("a") as temporary:
        temporary.write_bytes(b"one")
    for data in (b"two", b"three"):
        with storage.creating("b") as temporary:
            temporary.write_bytes(data)
    assert (storage.names(), storage.read("a"), storage.read("b")) == ({"a", "b"}, b"one", b"two")
    assert storage.modified("a") > 1e9
    with pytest.raises(FileNotFoundError), storage.writing("a") as temporary:
        (temporary.parent / "elsewhere" / "b").write_bytes(b"half")
    assert storage.read("a") == b"one"
    storage.remove("a")
    storage.remove("a")
    assert storage.names() == {"b"}
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    with pytest.raises(UserError, match="no such folder in the store"):
        list(Storage(s3[1]("nowhere")).below())


def test_images_manifest_and_parts_in_a_store(s3, place, undisturbed):
    _, address = s3
    result = run_shards(settings(place, address("found"), address("photos")))
    assert (result.done, result.images, result.failed) == (10, IMAGES - 1, 1)
    found = list(read_localizations(Path(address("found")), maps=False))
    local = list(read_localizations(place / "local", maps=False))
    assert [one.to_json()["scores"] for one in found] == [one.to_json()["scores"] for one in local]
    assert {one.path.as_posix() for one in found} == {
        f"s3:/bucket/photos/{number:02}.png" for number in range(IMAGES) if number != 7
    }
    assert plan_shards(settings(place, address("found"), address("photos"))).done == 10


def receipts(config):
    """The receipts of all shards, without their times, of a run that is begun here."""
    job = Job.begin(config, OpenedModel.open(config))
    done = LocalEngine().run(ShardWorker(job), range(job.manifest.shards))
    made = [receipt._replace(seconds=0.0) for receipt in done]
    assert job.finish({}) is not None
    return made


MODES = ("slow-down", "lost", "unanswered", "truncated")


@pytest.mark.parametrize("mode", MODES)
def test_a_store_that_fails_every_tenth_request(s3, place, mode):
    proxy, address = s3
    whole, flaky = address(f"whole-{mode}"), address(f"flaky-{mode}")
    expected = receipts(settings(place, whole, address("photos")))
    with proxy.failing(mode):
        assert receipts(settings(place, flaky, address("photos"))) == expected
    assert sum(proxy.failed.values()) > 10
    assert {"GET", "HEAD", "PUT"} <= proxy.failed.keys()
    assert contents(flaky) == contents(whole)
    assert {MANIFEST, SUCCESS} < contents(flaky).keys()


@pytest.mark.parametrize("mode", MODES)
def test_a_large_file_in_a_store_that_fails_every_third_request(s3, mode):
    proxy, address = s3
    storage, data = Storage(address(f"large-{mode}")), os.urandom(1 << 20) * 11
    with proxy.failing(mode, every=3):
        for name in ("a", "b", "c"):
            with storage.writing(name) as temporary:
                temporary.write_bytes(data)
        assert {"POST uploads", "PUT partNumber uploadId", "POST uploadId"} <= proxy.failed.keys()
    assert [storage.read(name) == data for name in ("a", "b", "c")] == [True] * 3


def test_an_interrupted_upload_is_whole(s3, monkeypatch):
    """An output stream of pyarrow's that is destroyed before it is closed makes a file of what was written."""
    storage, data, written = Storage(s3[1]("interrupted")), b"0123456789" * 100, []
    monkeypatch.setattr("wsl.formats.shards.storage._CHUNK", 100)
    send = storage_module._send

    def slowly(file, system, place):
        system = SimpleNamespace(open_output_stream=lambda place: Slow(real.open_output_stream(place)))
        send(file, system, place)

    class Slow:
        def __init__(self, stream):
            self.stream, self.close = stream, stream.close

        def write(self, chunk):
            self.stream.write(chunk)
            written.append(chunk)
            if len(written) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)

    real = storage_module.file_system(storage.address)[0]
    monkeypatch.setattr(storage_module, "_send", slowly)
    with pytest.raises(KeyboardInterrupt), storage.writing("a") as temporary:
        temporary.write_bytes(data)
    assert storage.read("a") == data


def test_a_store_that_stays_away_is_told(s3, tmp_path, monkeypatch):
    proxy, address = s3
    monkeypatch.setattr("wsl.formats.shards.storage._ATTEMPTS", 3)
    storage = Storage(address("away"))
    told = r"away/a could not be written .*SLOW_DOWN"
    with proxy.failing("slow-down", every=1), pytest.raises(RunError, match=told), storage.writing("a") as temporary:
        temporary.write_bytes(b"one")
    assert sum(proxy.failed.values()) == 3
    assert storage.names() == set()


def test_a_store_and_a_cluster_together(ray, s3, place):
    _, address = s3
    run_shards(settings(place, address("cluster"), address("photos"), engine="ray", processes=2))
    assert contents(address("cluster"))[SUCCESS]
    run_shards(settings(place, address("alone"), address("photos")))
    assert contents(address("cluster")) == contents(address("alone"))


def test_an_address_of_this_machine(place, undisturbed, tmp_path):
    shutil.copytree(place / "local", tmp_path / "copy")
    result = run_shards(settings(place, f"file://{(tmp_path / 'copy').as_posix()}"))
    assert (result.done, result.localized) == (10, 0)
