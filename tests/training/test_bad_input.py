"""What cannot be trained on, and what goes wrong on the way: one clear line each."""

import logging
from types import SimpleNamespace

import pytest
import torch

from wsl.boxes import Boxes
from wsl.config import DataConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.config.keywords import from_keywords
from wsl.data import targets
from wsl.errors import RunError, UserError
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet
from wsl.training import memory
from wsl.training import processes as processes_module
from wsl.training.balance import balanced_chances
from wsl.training.label_check import check_labels
from wsl.training.memory import too_large
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.order import Order, Shard
from wsl.training.processes import Processes
from wsl.training.sources import ImageSource, naming_dead_workers
from wsl.training.spec_check import check_train_specs
from wsl.training.step import Stepper


def labelled(*labels: list[str], classes=("cat", "dog")) -> SampleSet:
    return SampleSet(classes=classes, samples=[Sample(path=f"{i}.jpg", labels=some) for i, some in enumerate(labels)])


def test_classes_that_no_image_shows_and_those_that_every_image_shows_are_named(caplog):
    caplog.set_level(logging.WARNING)
    check_labels(
        labelled(["cat"], ["cat"], classes=("cat", "dog", "emu")), labelled(["dog"], classes=("cat", "dog", "emu"))
    )
    assert caplog.messages == [
        "no training image shows dog, emu: nothing is learnt about such a class",
        "no training image is known to be without cat: such a class cannot be told apart from the others",
        "no validation image shows cat, emu: the mAP is the mean over the others",
    ]
    caplog.clear()
    check_labels(labelled(["cat"], ["dog"]), labelled([]))
    assert caplog.messages == ["no validation image shows a class: the mAP is undefined"]
    caplog.clear()
    check_labels(labelled(["cat"], ["dog"]), labelled(["cat", "dog"]))
    assert not caplog.messages


def test_the_best_epoch_by_pointing_needs_boxes():
    train = labelled(["cat"], ["dog"])
    with pytest.raises(UserError, match=r"--best-by pointing needs annotated boxes, .*: expected --best-by mAP"):
        check_labels(train, train, "pointing")
    boxes = Boxes(xyxy=[[0, 0, 4, 4]], labels=["cat"])
    boxed = Sample(path="c.jpg", labels=["cat"], boxes=boxes, size=(8, 8))
    check_labels(train, SampleSet(classes=train.classes, samples=[*train.samples, boxed]), "pointing")


@pytest.mark.parametrize("other", [{"ignored": ["cat"]}, {"negatives": ["dog"]}])
def test_a_class_that_the_others_may_have_too_is_named(caplog, other):
    """Its known labels are the same in all images, so that nothing can be learnt about it."""
    images = [Sample(path="a.jpg", labels=["cat"]), Sample(path="b.jpg", labels=[], **other)]
    images.append(Sample(path="c.jpg", labels=["dog"], ignored=["cat"]))
    check_labels(SampleSet(classes=["cat", "dog"], samples=images), None)
    assert caplog.messages == [
        "no training image is known to be without cat: such a class cannot be told apart from the others"
    ]


def test_labels_that_are_all_ignored_are_refused():
    ignored = SampleSet(classes=["cat"], samples=[Sample(path="a.jpg", ignored=["cat"]), Sample(path="b.jpg")])
    with pytest.raises(UserError, match=r"none of 2 training images shows a class \(1 have ignored labels\)"):
        check_labels(ignored, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "acol(threshold=7)"}, "threshold is 7, expected a fraction"),
        ({"erase": "adl(drop=2)"}, "drop is 2, expected a probability"),
        ({"augment": "gaussianblur"}, "'gaussianblur' has no kernel_size"),
        ({"loss": "bce + puzzle(tiles=0)"}, "tiles is 0, expected a number of tiles"),
        ({"pooling": "kmax(k=1.5)"}, "k is 1.5, expected a count"),
    ],
)
def test_specs_are_checked_before_weights_are_downloaded(settings, message):
    with pytest.raises(UserError, match=message):
        check_train_specs(from_keywords(TrainConfig, {"data": "photos", "out": "run", **settings}))


@pytest.mark.parametrize(
    ("count", "batch", "processes", "message"),
    [
        (10, 3, 2, "--batch-size 3 for 2 processes: expected a multiple, such as 2 or 4"),
        (10, 1, 4, "--batch-size 1 for 4 processes: expected a multiple, such as 4"),
        (3, 4, 4, "3 training images for 4 processes"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(count, batch, processes, message):
    with pytest.raises(UserError, match=message):
        Order(count, batch, 0, Shard(0, processes))


@pytest.mark.parametrize(("count", "batch", "processes"), [(1, 16, 1), (5, 4, 1), (7, 4, 2), (9, 16, 4), (64, 16, 4)])
def test_every_image_counts_once_an_epoch_and_shapes_are_alike(count, batch, processes):
    orders = [Order(count, batch, 0, Shard(rank, processes)) for rank in range(processes)]
    shares = [share for order in orders for share in order.shares(3)]
    assert len({len(share.rows) for share in shares}) == 1
    assert sorted(row for share in shares for row in share.rows[share.counted].tolist()) == list(range(count))


def test_balanced_sampling_shows_a_rare_class_as_often_as_a_frequent_one():
    some = labelled(*[["dog"] if i % 10 == 0 else ["cat"] for i in range(200)])
    order = Order(200, 10, 0, chances=balanced_chances(some))
    rows = [
        row for epoch in range(1, 11) for share in order.shares(epoch) for row in share.rows[share.counted].tolist()
    ]
    assert len(rows) == 2000
    assert sum(row % 10 == 0 for row in rows) / 2000 == pytest.approx(0.5, abs=0.04)


def test_a_process_that_dies_is_said_by_the_others(monkeypatch):
    def lost(tensor):
        raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1234\nmore")

    monkeypatch.setattr(processes_module.dist, "all_reduce", lost)
    with pytest.raises(RunError, match=r"another process .* does not answer \(\[gloo\] Connection closed by peer"):
        Processes(Shard(0, 2)).sum(torch.zeros(1))


def test_a_gpu_that_is_too_small_says_what_would_fit(monkeypatch):
    """Memory as a GPU would count it: 100 for the weights, 50 an image."""
    images = torch.zeros(64, 3, 8, 8)
    example = Example(images, torch.zeros(64, 2), torch.ones(64, 2), torch.arange(64), 64)
    model, objective = Localizer("tinynet", 2, weights="none"), create_objective("bce")
    recomputing = TrainedNetwork(model, objective, torch.float32, features=False, checkpointing=True)
    assert ": give a smaller --image-size, or --freeze-backbone" in str(too_large(recomputing, example))
    network = TrainedNetwork(model, objective, torch.float32, features=False)
    assert "give --checkpointing, a smaller --image-size" in str(too_large(network, example))
    monkeypatch.setattr(memory, "_peak", lambda network, example, images: 100 + 50 * images)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=1000))
    on_gpu = example._replace(inputs=SimpleNamespace(device=torch.device("cuda:0"), shape=images.shape))
    said = str(too_large(network, on_gpu))
    assert said.startswith("the memory of cuda:0 does not hold a step of 64 images of 8 x 8, and about 16 would fit: ")
    assert "--accumulate 4 is the same step in parts" in said


def test_a_step_without_room_ends_in_that_line(monkeypatch):
    def full(self, example, progress):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainedNetwork, "forward", full)
    model = Localizer("tinynet", 2, weights="none")
    network = TrainedNetwork(model, create_objective("bce"), torch.float32, features=False)
    stepper = Stepper(network, torch.optim.SGD(model.parameters(), lr=0.1), OptimConfig())
    example = Example(torch.zeros(4, 3, 32, 32), torch.zeros(4, 2), torch.ones(4, 2), torch.arange(4), 4)
    with pytest.raises(RunError, match="does not hold a step of 4 images of 32 x 32"):
        stepper(example, 0, 0.0)


def test_a_loader_without_shared_memory_says_what_to_give(monkeypatch, samples, tmp_path):
    source = image_source(samples, tmp_path)
    monkeypatch.setattr(type(source._loader), "__iter__", dying)
    with pytest.raises(RunError, match=r"killed by signal: Bus error.*--shm-size.*--workers 0"):
        list(source.batches(1))


def test_a_worker_that_dies_while_it_sends_a_batch_is_named(monkeypatch, samples, tmp_path):
    def reset(self):
        raise ConnectionResetError("Connection reset by peer")

    source = image_source(samples, tmp_path)
    monkeypatch.setattr(type(source._loader), "__iter__", reset)
    with pytest.raises(RunError, match=r"decodes images has died \(Connection reset by peer\)"):
        list(source.batches(1))


def test_a_worker_that_dies_during_a_step_is_not_taken_for_an_error_of_the_network(monkeypatch):
    model = Localizer("tinynet", 2, weights="none")
    monkeypatch.setattr(model.backbone.net, "forward", dying)
    message = r"decodes images has died \(DataLoader worker .pid 7. is killed"
    with pytest.raises(RunError, match=message), naming_dead_workers():
        model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="other"), naming_dead_workers():
        raise ValueError("other")


def dying(self):
    raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...")


def image_source(some: SampleSet, folder) -> ImageSource:
    model = Localizer("tinynet", classes=some.classes, weights="none", preprocessing=Preprocessing(image_size=32))
    config = TrainConfig(data=DataConfig(data=folder), out=folder / "run", runtime=RuntimeConfig(workers=0))
    return ImageSource(model, some, None, config, torch.device("cpu"), Order(len(some), 4, 0))


def test_ten_thousand_classes_are_no_other_case():
    classes = tuple(map(str, range(10_000)))
    values, known = targets(Sample(path="a.jpg", labels=["7", "9999"], ignored=["3"]), classes)
    assert (values.sum(), known.sum(), len(values)) == (2, 9999, 10_000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": ("cutmix",), "freeze_backbone": True}, "--augment changes images"),
        ({"erase": "adl", "freeze_backbone": True}, "--erase needs a backbone that is trained"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"ema": 1.0}, "ema is 1.0"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(UserError, match=message):
        OptimConfig(**settings)
