"""Training as a whole: the same numbers again, runs that are stopped and continued, and every clear ending."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from wsl.config import DataConfig, EvaluateConfig, ModelConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.data import read_samples
from wsl.errors import BadImageError, RunError, UserError
from wsl.inference import Predictor
from wsl.models import load
from wsl.models.tiny import TinyNet
from wsl.training import learner as learner_module
from wsl.training.objectives import BCE, OBJECTIVES
from wsl.verbs.evaluate import evaluate
from wsl.verbs.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def dropout(monkeypatch, dropping) -> None:
    monkeypatch.setattr("wsl.models.backbone.TinyNet", dropping)


def settings(world: Path, out: Path, *, workers: int = 0, strict: bool = False, **changes) -> TrainConfig:
    optim = {"epochs": 2, "batch_size": 16, "lr": 3e-3, "min_crop": 0.5}
    names = {field.name for field in dataclasses.fields(OptimConfig)}
    optim |= {name: changes.pop(name) for name in list(changes) if name in names}
    return TrainConfig(
        data=DataConfig(data=world),
        out=out,
        model=ModelConfig(backbone="tinynet", weights="none", pooling="lse(beta=2)"),
        preprocessing=Preprocessing(image_size=32),
        optim=OptimConfig(**optim),
        runtime=RuntimeConfig(device="cpu", precision="fp32", workers=workers, strict=strict),
        **changes,
    )


def kill_in_epoch(monkeypatch, epoch: int, error: BaseException) -> None:
    """Raise after the first step of that epoch."""
    whole = learner_module.run_epoch

    def run_epoch(stepper, batches, **kwargs):
        def stopping():
            for step, batch in enumerate(batches):
                if kwargs["epoch"] == epoch and step == 1:
                    raise error
                yield batch

        return whole(stepper, stopping(), **kwargs)

    monkeypatch.setattr(learner_module, "run_epoch", run_epoch)


# --- the same again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.quick("freeze", [False])
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    world, tmp_path, freeze, dropout, figures, assert_same_run
):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(settings(world, tmp_path / name, seed=seed, freeze_backbone=freeze))
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert figures(tmp_path / "a") != figures(tmp_path / "c")


@pytest.mark.parametrize(
    ("freeze", "workers", "optimizer", "val"),
    [(False, 0, "adamw", "val"), (False, 2, "sgd", None), (True, 0, "sgd", "val"), (True, 2, "adamw", None)],
)
@pytest.mark.quick("freeze, optimizer", [(True, "sgd")])
def test_a_run_killed_within_an_epoch_ends_in_the_same_weights(
    world, tmp_path, dropout, monkeypatch, freeze, workers, optimizer, val, figures, assert_same_run
):
    options = {"freeze_backbone": freeze, "workers": workers, "optimizer": optimizer, "val_split": val}
    train(settings(world, tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(settings(world, tmp_path / "parts", **options))
    assert len(figures(tmp_path / "parts")) == 1
    with (tmp_path / "parts" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 2, "lo')  # as a copy of a dying disk may have it
    result = train(settings(world, tmp_path / "parts", resume=True, **options))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert result.model == tmp_path / "parts" / "model.safetensors"
    assert load(result.model).classes == ("blue", "red")


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory, dropping) -> Path:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsl.models.backbone.TinyNet", dropping)
        train(settings(world, out))
    return out


@pytest.mark.parametrize("file", range(1, 9))
@pytest.mark.quick("file", [5])
def test_a_run_killed_between_any_two_files_ends_in_the_same_weights(
    world, tmp_path, dropout, monkeypatch, file, whole, assert_same_run
):
    """Each file is written with one `Path.replace`; the run dies just before the n-th of them."""
    replace, written = Path.replace, []

    def dying(self, target):
        written.append(target)
        if len(written) >= file:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        try:
            train(settings(world, tmp_path / "parts"))
        except KeyboardInterrupt:
            assert len(written) >= file
    train(settings(world, tmp_path / "parts", resume=(tmp_path / "parts" / "config.json").exists()))
    assert_same_run(whole, tmp_path / "parts")
    assert not [path for path in (tmp_path / "parts").rglob(".*") if path.is_file()]


def test_resuming_a_finished_run_changes_nothing(world, tmp_path):
    first = train(settings(world, tmp_path / "run"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = train(settings(world, tmp_path / "run", resume=True))
    assert {path: path.read_bytes() for path in before} == before
    assert (again.best_epoch, again.mAP, again.pointing) == (first.best_epoch, first.mAP, first.pointing)


def test_a_process_may_train_on_another_device_than_before(world, tmp_path, monkeypatch, assert_same_run):
    """accelerate keeps the first device of a process, here one that this machine has not."""
    train(settings(world, tmp_path / "first", epochs=1))
    for state in (AcceleratorState, PartialState):
        monkeypatch.setitem(state._shared_state, "device", torch.device("xla"))
    train(settings(world, tmp_path / "second", epochs=1))
    assert_same_run(tmp_path / "first", tmp_path / "second")


# --- what learns and what does not ------------------------------------------------------------------------------


@pytest.mark.parametrize("still", [{"freeze_backbone": True}, {"backbone_lr_factor": 0.0}])
def test_a_backbone_that_must_not_learn_does_not_move_at_all(world, tmp_path, still):
    """Running statistics included."""
    train(settings(world, tmp_path / "run", epochs=1, **still))
    torch.manual_seed(0)
    fresh = TinyNet().state_dict()
    trained = load(tmp_path / "run").backbone.net.state_dict()
    # The seed builds the same backbone before the run trains its head.
    assert fresh.keys() == trained.keys()
    assert all(torch.equal(fresh[name], trained[name]) for name in fresh)


def test_a_second_head_does_not_run_the_backbone_again(world, tmp_path, monkeypatch):
    seen = []
    forward = TinyNet.forward
    monkeypatch.setattr(TinyNet, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    train(settings(world, tmp_path / "a", epochs=1, freeze_backbone=True))
    looks = 2  # one image tells the backbone's stride, and one where its cells look
    assert sum(seen) == looks + 48 * 2 + 16
    seen.clear()
    train(settings(world, tmp_path / "b", epochs=2, freeze_backbone=True, lr=0.1))
    assert sum(seen) == looks


def test_a_run_says_what_it_is_and_how_good_class_by_class(world, tmp_path, figures):
    train(settings(world, tmp_path / "run", epochs=1))
    rows = json.loads((tmp_path / "run" / "classes.json").read_text(encoding="utf-8"))
    assert [(row["class"], row["images"]) for row in rows] == [("blue", 11), ("red", 10)]
    record = figures(tmp_path / "run")[-1]
    for name, mean in (("AP", "mAP"), ("pointing", "pointing")):
        assert sum(row[name] for row in rows) / 2 == pytest.approx(record[mean])
    readme = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "On 48 images of train, validated on val. The model is that of epoch 1 of 1, the best by mAP." in readme
    assert f"| blue  |     11 | {rows[0]['AP']:.3f} |    {rows[0]['pointing']:.3f} |" in readme


def test_a_run_says_what_it_takes_for_what(world, tmp_path):
    config = settings(world, tmp_path / "run", epochs=3, lr=3e-3)
    train(config)
    run = tmp_path / "run"
    rows = json.loads((run / "classes.json").read_text(encoding="utf-8"))
    known = json.loads((run / "confusions.json").read_text(encoding="utf-8"))
    samples, model = read_samples(config.data, "val"), load(run)
    predictor = Predictor(model, device="cpu", precision="fp32", refine="none", max_scores=None)
    scores = [predictor(str(sample.path)).scores for sample in samples.samples]
    for row in rows:
        says = [one[row["class"]] >= 0.5 for one in scores]
        right = sum(said and row["class"] in one.labels for said, one in zip(says, samples.samples, strict=True))
        assert row["predicted"] == sum(says)
        assert row["recall"] == pytest.approx(right / row["images"])
    assert known["predicted"] == "probability of 0.5 or more"
    for pair in known["confusions"]:
        expected = sum(
            one[pair["predicted"]] >= 0.5
            and pair["predicted"] not in sample.labels
            and pair["present"] in sample.labels
            for one, sample in zip(scores, samples.samples, strict=True)
        )
        assert pair["images"] == expected > 0
    readme = (run / "README.md").read_text(encoding="utf-8")
    assert "Precision and recall are of classes predicted by this criterion: probability of 0.5 or more." in readme
    assert "## Confusions" in readme


def test_patience_ends_a_run_that_gets_no_better(world, tmp_path, caplog, figures):
    caplog.set_level("INFO")
    options = {"epochs": 9, "lr": 1e-9, "patience": 2, "batch_norm": "frozen"}
    result = train(settings(world, tmp_path / "run", **options))
    assert (result.best_epoch, len(figures(tmp_path / "run"))) == (1, 3)
    assert caplog.messages[-1] == "stopped: 2 epochs without a better mAP"
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    train(settings(world, tmp_path / "run", resume=True, **options))
    assert len(figures(tmp_path / "run")) == 3
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_the_average_is_what_is_measured_and_kept_and_training_goes_on_from_the_weights(world, tmp_path, same):
    train(settings(world, tmp_path / "plain", epochs=1))
    train(settings(world, tmp_path / "averaged", epochs=1, ema=0.5))
    plain, averaged = (
        torch.load(tmp_path / name / "last" / "state.pt", weights_only=True) for name in ("plain", "averaged")
    )
    assert same(plain["model"], averaged["model"])
    kept = load(tmp_path / "averaged").state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in averaged["average"]["average"].items())
    assert not torch.equal(kept["head.conv.weight"], averaged["model"]["head.conv.weight"])


def test_the_figures_reported_are_those_of_the_model_kept(world, tmp_path, figures):
    result = train(settings(world, tmp_path / "run", epochs=4, lr=1e-2, backbone_lr_factor=1.0))
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=0)
    found = evaluate(
        EvaluateConfig(
            data=DataConfig(data=world), out=tmp_path / "val", weights=str(tmp_path / "run"), runtime=runtime
        )
    )
    values = {metric.name: metric.value for metric in found.metrics}
    assert result.mAP == max(record["mAP"] for record in figures(tmp_path / "run"))
    assert values["mAP"] == pytest.approx(result.mAP, abs=1e-6)
    assert values["pointing"] == pytest.approx(result.pointing, abs=1e-6)


@pytest.mark.parametrize("loss", [name for name, kind in OBJECTIVES.items() if kind.classifies])
def test_one_class_alone_trains(world, tmp_path, loss):
    data = tmp_path / "one.csv"
    rows = [f"{path.as_posix()},{split},thing" for split in ("train", "val")
            for path in sorted((world / "JPEGImages").glob(f"{split}*.png"))[:8]]  # fmt: skip
    data.write_text("\n".join(["path,split,labels", *rows]), encoding="utf-8")
    result = train(settings(data, tmp_path / "run", epochs=1, loss=loss, batch_size=32))
    assert result.mAP == 1.0
    assert load(result.model).recipe.multi_label == (loss != "cross-entropy")


# --- endings ----------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_keeps_the_last_good_epoch(world, tmp_path, monkeypatch, figures, assert_same_run):
    whole, calls = BCE.total, []

    def diverging(*given):
        calls.append(1)
        return whole(*given) * (torch.nan if len(calls) > 4 else 1)  # in the second epoch

    with monkeypatch.context() as patch:
        patch.setattr(BCE, "total", diverging)
        with pytest.raises(RunError, match=r"the loss is nan in epoch 2, step 2 \(images .*train.*png and 13 more\)"):
            train(settings(world, tmp_path / "run"))
    assert len(figures(tmp_path / "run")) == 1
    train(settings(world, tmp_path / "run", resume=True))
    train(settings(world, tmp_path / "whole"))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_unreadable_images_are_counted_and_strict_stops(world, tmp_path, caplog, figures):
    copy = tmp_path / "world"
    shutil.copytree(world, copy)
    for name in ("train03", "train20", "val02"):
        (copy / "JPEGImages" / f"{name}.png").write_bytes(b"not a picture")
    for freeze in (False, True, True):  # the third finds the features of the second
        caplog.clear()
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        result = train(settings(copy, out, freeze_backbone=freeze, epochs=2))
        assert result.skipped == figures(out)[-1]["skipped"] == 3
        assert len([line for line in caplog.messages if line.startswith("skipped: ")]) == 3
        with pytest.raises(BadImageError, match=r"\.png"):
            train(settings(copy, out, freeze_backbone=freeze, epochs=2, overwrite=True, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"runtime": RuntimeConfig(device="cpu", precision="fp16")}, "fp16 on the CPU"),
        ({"train_split": "nowhere"}, "nowhere"),
        ({"model": ModelConfig(backbone="tinynet", weights="none", pooling="lse(gamma=2)")}, "gamma"),
    ],
)
def test_a_mistake_is_told_before_a_run_is_there(world, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(dataclasses.replace(settings(world, tmp_path / "run"), **changes))
    assert not (tmp_path / "run").exists()


# --- TensorBoard ------------------------------------------------------------------------------------------------


def test_tensorboard_has_every_figure_of_every_epoch_once(world, tmp_path, monkeypatch, figures):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(settings(world, out, tensorboard=True))
    train(settings(world, out, tensorboard=True, resume=True))
    events = accumulator.EventAccumulator(str(out / "tensorboard")).Reload()
    for name in ("loss", "lr", "mAP", "pointing"):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(record["epoch"], pytest.approx(record[name])) for record in figures(out)]


def test_trackers_of_accelerate_are_told_settings_and_figures(world, tmp_path, figures):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(settings(world, tmp_path / "run", epochs=2, track=("tensorboard",)))
    folder = next(path.parent for path in (tmp_path / "run" / "wsl-train").rglob("events*"))
    events = accumulator.EventAccumulator(str(folder)).Reload()
    written = [(event.step, event.value) for event in events.Scalars("mAP")]
    assert written == [(record["epoch"], pytest.approx(record["mAP"])) for record in figures(tmp_path / "run")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("wandbb", "did you mean 'wandb'"), ("mlflow", "--track mlflow needs its package")],
)
def test_a_tracker_that_is_not_there_is_told_before_anything_is_computed(world, tmp_path, name, message, monkeypatch):
    monkeypatch.setattr("wsl.verbs.epochs.get_available_trackers", lambda: [])
    with pytest.raises(UserError, match=message):
        train(settings(world, tmp_path / "run", track=(name,)))
    assert not (tmp_path / "run").exists()


def test_a_compiled_network_is_one_graph_and_learns_the_same(world, tmp_path, monkeypatch):
    dynamo = torch._dynamo
    dynamo.reset()
    dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    for name, compiled in (("plain", False), ("compiled", True)):
        train(settings(world, tmp_path / name, compile=compiled))
    assert dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not dynamo.utils.counters["graph_break"]
    plain, compiled = (load(tmp_path / name).state_dict() for name in ("plain", "compiled"))
    torch.testing.assert_close(plain, compiled)
    dynamo.reset()
