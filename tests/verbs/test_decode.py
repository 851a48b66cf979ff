"""`wsl-train --decode` and `--decoder RUN`: a map decoder for a run, kept in it and used by the other commands."""

import json
import shutil

import numpy as np
import pytest
import torch

from wsl import Predictor, UserError, cli
from wsl.config import DataConfig, DecodeConfig, DecoderConfig, Preprocessing, RuntimeConfig
from wsl.data import read_samples
from wsl.files import replacing
from wsl.models import Backbone, Localizer, load, save
from wsl.training import decoder_rounds, kept_rounds
from wsl.training.decoder_features import DecoderFeatures
from wsl.training.decoder_rounds import DecoderTraining
from wsl.verbs import train as train_verb
from wsl.verbs.finished import decode

RUNTIME = RuntimeConfig(device="cpu", precision="fp32", workers=0)
DECODING = DecoderConfig(decode=True, decoder_rounds=2, decoder_epochs=6, decoder_batch_size=8)


def config(run, **settings) -> DecodeConfig:
    return DecodeConfig(**{"run": run, "decoding": DECODING, "runtime": RUNTIME, **settings})


@pytest.fixture
def copied(run, tmp_path):
    """The run, to be changed."""
    return shutil.copytree(run, tmp_path / "run")


def test_boxes_are_nearer_to_the_things(run, decoded, world, tmp_path):
    """On images that it was not trained on, with thresholds that nobody chose."""
    figures = {}
    for name, weights, refine in (("raw", run, "none"), ("decoder", decoded, "auto")):
        flags = ["--weights", str(weights), "--data", str(world), "--refine", refine, "--out", str(tmp_path / name)]
        assert cli.evaluate([*flags, "--device", "cpu", "--precision", "fp32"]) == 0
        report = json.loads((tmp_path / name / "evaluation.json").read_text(encoding="utf-8"))
        figures[name] = {key: report["metrics"][key]["value"] for key in ("CorLoc", "AP50", "pointing (pairs)")}
    assert figures["decoder"]["CorLoc"] > figures["raw"]["CorLoc"]
    assert figures["decoder"]["AP50"] > figures["raw"]["AP50"]
    assert figures["decoder"]["pointing (pairs)"] > 0.9


def test_the_classifier_stays_what_it_was(run, decoded):
    before, after = load(run).state_dict(), load(decoded).state_dict()
    assert {name for name in after if not name.startswith("decoder.")} == set(before)
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    written = json.loads((decoded / "config.json").read_text(encoding="utf-8"))
    assert written["decoding"]["decode"]
    assert written["decoding"]["decoder_epochs"] == 6
    assert not list((decoded / "last").glob("decoder*"))


def test_a_decoder_is_used_where_there_is_one(run, decoded, photos, tmp_path, capsys):
    assert Predictor(load(decoded), device="cpu").refine == "decoder"
    assert cli.localize([str(photos), "--weights", str(decoded), "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "threshold 0.5" in capsys.readouterr().out
    written = json.loads((tmp_path / "localize.json").read_text(encoding="utf-8"))
    assert (written["refine"], written["boxes"]["box_rule"], written["boxes"]["min_area"]) == (
        "decoder",
        "nested",
        0.01,
    )
    assert (
        cli.localize([str(photos), "--weights", str(run), "--refine", "decoder", "--out", str(tmp_path), "--overwrite"])
        == 2
    )
    assert "no map decoder" in capsys.readouterr().err


def test_training_ends_with_it(world, tmp_path):
    """`--decode` gives what `--decoder` gives afterwards, and resuming a finished run trains it; detectors likewise."""
    small = ["--data", str(world), "--backbone", "tinynet", "--weights", "none", "--image-size", "32", "--epochs", "1"]
    small += ["--batch-size", "16", "--workers", "0", "--device", "cpu", "--precision", "fp32", "--val-split", "None"]
    decoder = ["--decoder-rounds", "1", "--decoder-epochs", "1"]
    detector = ["--detector-rounds", "1", "--detector-epochs", "1"]
    machine = ["--workers", "0", "--device", "cpu", "--precision", "fp32"]
    outs = [tmp_path / name for name in ("at once", "afterwards", "resumed")]
    assert cli.train([*small, "--out", str(outs[0]), "--decode", *decoder, "--detect", *detector]) == 0
    for out in outs[1:]:
        assert cli.train([*small, "--out", str(out)]) == 0
        assert not load(out).decodes
    assert cli.train(["--decoder", str(outs[1]), *decoder, *machine]) == 0
    assert not load(outs[1]).detects
    assert cli.train(["--detector", str(outs[1]), *detector, *machine]) == 0
    assert cli.train([*small, "--out", str(outs[2]), "--resume", "--decode", *decoder, "--detect", *detector]) == 0
    files = [(out / "model.safetensors").read_bytes() for out in outs]
    assert files[0] == files[1] == files[2]
    assert load(outs[0]).detects


def test_resuming_trains_no_part_again_that_is_there(world, tmp_path, monkeypatch):
    flags = ["--data", str(world), "--out", str(tmp_path), "--backbone", "tinynet", "--image-size", "32"]
    flags += ["--epochs", "1", "--freeze-backbone", "--workers", "0", "--device", "cpu", "--precision", "fp32"]
    flags += ["--decode", "--decoder-rounds", "1", "--decoder-epochs", "1", "--detect"]
    flags += ["--detector-rounds", "1", "--detector-epochs", "1"]
    assert cli.train(flags) == 0
    before, trained = (tmp_path / "model.safetensors").read_bytes(), []
    train_part = train_verb.train_part
    monkeypatch.setattr(
        train_verb, "train_part", lambda part, *rest: trained.append(type(part).__name__) or train_part(part, *rest)
    )
    assert cli.train(["--out", str(tmp_path), "--resume"]) == 0
    assert trained == []
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert cli.train(["--out", str(tmp_path), "--resume", "--detector-epochs", "2"]) == 0
    assert trained == ["DetectConfig"]
    assert cli.train(["--out", str(tmp_path), "--resume", "--decoder-epochs", "2"]) == 0
    assert trained == ["DetectConfig", "DecodeConfig", "DetectConfig"]


@pytest.mark.parametrize(("seed", "rounds"), [(0, 1), (1, 2)])
@pytest.mark.quick("seed", [1])
def test_a_stopped_training_goes_on_after_its_last_finished_round(decoded, copied, monkeypatch, seed, rounds):
    """With the same settings; with others it begins anew."""

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    train = decoder_rounds.train_decoder
    steps = iter([train, stop])
    with monkeypatch.context() as patch:
        patch.setattr(decoder_rounds, "train_decoder", lambda *args, **kwargs: next(steps)(*args, **kwargs))
        with pytest.raises(KeyboardInterrupt):
            decode(config(copied))
    assert not load(copied).decodes
    # Half of a later round, as a kill may leave it.
    (copied / "last" / "decoder-2.safetensors").write_bytes(b"\x10")
    calls = []
    monkeypatch.setattr(decoder_rounds, "train_decoder", lambda *args, **kw: calls.append(1) or train(*args, **kw))
    decode(config(copied, seed=seed))
    assert len(calls) == rounds
    if seed == 0:
        assert (copied / "model.safetensors").read_bytes() == (decoded / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("takes_others", "last"), [(True, ["flip", 64, 96]), (False, ["flip"])])
@pytest.mark.quick("takes_others", [True])
def test_the_last_round_learns_from_two_sizes_unless_the_network_takes_one(copied, monkeypatch, takes_others, last):
    seen = []
    grids = Backbone.grids

    def of_own_size(self, size, *args):
        if size[0] != 64 and not takes_others:
            raise UserError(f"no images of {size}")
        return grids(self, size, *args)

    monkeypatch.setattr(Backbone, "grids", of_own_size)
    views = decoder_rounds.round_views
    monkeypatch.setattr(
        decoder_rounds, "round_views", lambda *args, **kwargs: seen.append(views(*args, **kwargs)) or seen[-1]
    )
    few = DecoderConfig(decoder_epochs=1)
    decode(config(copied, decoding=few))
    assert seen == [[], ["flip"], ["flip"], last, last, last]


@pytest.mark.parametrize(
    ("backbone", "resize", "number", "tolerance"),
    [
        ("tinynet", "warp", 2, 0.01),
        ("tinynet", "letterbox", 2, 0.01),
        ("mobilenet_v2", "warp", 3, 0.01),  # whose refinement reads other layers than its decoder
        ("tinynet", "warp", 4, 0.2),  # the smaller of two sizes is resized from the image, not from the larger
    ],
)
def test_cached_features_give_the_maps_of_a_predictor(
    world, tmp_path, monkeypatch, backbone, resize, number, tolerance
):
    preprocessing = Preprocessing(image_size=64, resize=resize)
    torch.manual_seed(0)
    model = Localizer(backbone, classes=("blue", "red"), weights="none", preprocessing=preprocessing)
    save(model, tmp_path / "model.safetensors")
    samples = read_samples(DataConfig(data=world), "train")
    few = DecoderConfig(decoder_epochs=1, decoder_rounds=4)
    training = DecoderTraining(load(tmp_path), samples, config(tmp_path, decoding=few), torch.device("cpu"))
    decoder = training.model.add_decoder().eval()
    torch.nn.init.normal_(decoder.classify.weight)  # else all maps are nearly the same
    targets = []
    for suffice in (True, False):
        monkeypatch.setattr(DecoderFeatures, "suffice", suffice)
        targets.append(training._targets(number))
    cached, computed = targets
    assert cached.known.all()
    assert computed.maps.std() > 0.1
    np.testing.assert_allclose(cached.maps, computed.maps, atol=tolerance)


def test_without_space_for_all_features_the_network_runs_in_each_round(copied, monkeypatch):
    """The training images take 4 views and 2 layers for the refinement, which the decoder's layers include."""
    size = 48 * 2 * (48 * 16 * 16 + 128 * 8 * 8)
    calls = []
    monkeypatch.setattr(
        decoder_rounds, "Predictor", lambda *args, **kwargs: calls.append(1) or Predictor(*args, **kwargs)
    )
    for room, runs in ((2.1 * size, 2), (9 * size, 1)):
        few = DecoderConfig(decoder_rounds=2, decoder_epochs=1, decoder_cache=room / 1e9)
        calls.clear()
        decode(config(copied, decoding=few))
        assert len(calls) == runs


def test_a_run_has_no_decoder_before_it_is_whole(copied, monkeypatch):
    def full(path):
        if path.name.startswith("decoder-"):
            raise OSError(28, "No space left on device")
        return replacing(path)

    before = (copied / "model.safetensors").read_bytes()
    monkeypatch.setattr(kept_rounds, "replacing", full)
    with pytest.raises(OSError, match="No space"):
        decode(config(copied))
    assert (copied / "model.safetensors").read_bytes() == before


def test_the_readme_of_the_run_has_the_command_that_makes_both(run, decoded):
    before, after = ((folder / "README.md").read_text(encoding="utf-8") for folder in (run, decoded))
    old, new = (next(line for line in text.splitlines() if line.startswith("wsl-train")) for text in (before, after))
    assert "--decode" not in old
    assert "--decode " in new
    assert "--decoder-epochs 6" in new
    assert after == before.replace(old, new)


def test_a_small_cache_trains_on_a_part(copied, caplog):
    """Each image takes 64 px / 4 and / 8 cells of 48 and 128 channels, 2 bytes each, in two views."""
    size = 2 * 2 * (48 * 16 * 16 + 128 * 8 * 8)
    few = DecoderConfig(decoder_rounds=1, decoder_epochs=1, decoder_cache=20.5 * size / 1e9)
    decode(config(copied, decoding=few))
    assert "on 20 of 48 images" in caplog.text


def test_a_class_without_an_image_is_named(copied, world, tmp_path, caplog):
    """Its maps are 0, which says that it is nowhere."""
    rows = [f"{path},blue" for path in sorted((world / "JPEGImages").glob("train*")) if int(path.stem[5:]) % 3 == 0]
    table = tmp_path / "labels.csv"
    lines = [f"{row.split(',')[0]},1,0" for row in rows]
    table.write_text("path,blue,red\n" + "\n".join(lines) + "\n", encoding="utf-8")
    data = DataConfig(data=table)
    decode(config(copied, data=data, train_split="all"))
    assert "no training image shows red" in caplog.text
    found = Predictor(load(copied), classes=("red",), device="cpu", precision="fp32")(rows[0].split(",")[0])
    assert np.asarray(found.maps["red"]).max() < 0.2


@pytest.mark.parametrize(
    ("backbone", "settings", "levels"),
    [
        ("tinynet", {"pooling": "netvlad(clusters=2)"}, 2),  # whose maps are gradient maps
        ("mobilenet_v2", {"padding": "tensorflow", "pooling": "lse"}, 3),
        ("timm/test_vit", {"head": "ts-cam"}, 1),  # no intermediate features, and no walk
    ],
)
@pytest.mark.quick("backbone", ["tinynet"])
def test_any_head_and_backbone_can_have_one(world, tmp_path, backbone, settings, levels):
    pytest.importorskip("timm")
    side = 160 if "vit" in backbone else 64
    model = Localizer(
        backbone, classes=("blue", "red"), weights="none", preprocessing=Preprocessing(image_size=side), **settings
    )
    save(model, tmp_path / "model.safetensors")
    few = DecoderConfig(decoder_rounds=2, decoder_epochs=1)
    decode(config(tmp_path, data=DataConfig(data=world), decoding=few))
    trained = load(tmp_path)
    assert len(trained.decoder.projections) == levels
    found = Predictor(trained, classes=("red",), device="cpu", precision="fp32")(world / "JPEGImages" / "val00.png")
    assert np.isfinite(found.maps["red"]).all()


def test_one_image_is_enough(copied, world, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(f"path,blue,red\n{world / 'JPEGImages' / 'train00.png'},1,0\n", encoding="utf-8")
    decode(config(copied, data=DataConfig(data=table), train_split="all"))
    assert load(copied).decodes


def test_unreadable_images_are_left_out(copied, world, tmp_path, caplog):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    table = tmp_path / "labels.csv"
    lines = [
        f"{world / 'JPEGImages' / 'train00.png'},1,0",
        f"{broken},0,1",
        f"{world / 'JPEGImages' / 'train01.png'},0,1",
    ]
    table.write_text("path,blue,red\n" + "\n".join(lines) + "\n", encoding="utf-8")
    result = decode(config(copied, data=DataConfig(data=table), train_split="all"))
    assert result.skipped == 1
    assert "broken.png" in caplog.text
    assert all(bool(tensor.isfinite().all()) for tensor in load(copied).state_dict().values())


def test_what_does_not_go_together_is_one_line(run, copied, world, tmp_path, capsys):
    for flags, said in (
        (["--decoder", str(tmp_path / "lost")], "no model"),
        (["--decoder", str(copied), "--pooling", "gmp"], "finished run"),
        (["--decoder", str(copied), "--out", "x"], "finished run"),
        (["--data", str(world)], "--out"),
        (["--out", "x"], "--data"),
    ):
        assert cli.train(flags) == 2
        assert said in capsys.readouterr().err
    for wrong in ("rounds", "epochs", "batch_size", "lr", "cache"):
        with pytest.raises(UserError, match=f"{wrong.replace('_', ' ')} is 0"):
            DecoderConfig(**{f"decoder_{wrong}": 0})
    other = tmp_path / "other"
    (other / "cat").mkdir(parents=True)
    shutil.copy(world / "JPEGImages" / "train00.png", other / "cat")
    with pytest.raises(UserError, match="classes blue, red, and the images"):
        decode(config(copied, data=DataConfig(data=other), train_split="all"))
    (copied / "config.json").unlink()
    with pytest.raises(UserError, match="give --data"):
        decode(config(copied))
