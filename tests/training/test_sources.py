"""What the network is shown, epoch by epoch, from images and from kept features."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from heads import HeadOutput
from wsl.config import DataConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.data import targets
from wsl.errors import BadImageError, RunError
from wsl.images import fit, read_image
from wsl.images.tensors import Normalise
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet
from wsl.training import loading
from wsl.training.loading import Key
from wsl.training.order import Order, Shard
from wsl.training.sources import BatchSource, FeatureSource, ImageSource, _Keys

SMALL = Preprocessing(image_size=32)
CPU = torch.device("cpu")
ALONE = Shard()


@pytest.fixture(params=["images", "features"])
def kind(request) -> type[BatchSource]:
    return {"images": ImageSource, "features": FeatureSource}[request.param]


def create(kind, samples, tmp_path, val=None, shard=ALONE, strict=False, workers=0, seed=0, **optim) -> BatchSource:
    torch.manual_seed(0)
    model = Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=SMALL).eval()
    config = TrainConfig(
        data=DataConfig(data=tmp_path),
        out=tmp_path / "runs" / "a",
        optim=OptimConfig(**{"batch_size": 4, "freeze_backbone": kind is FeatureSource, **optim}),
        runtime=RuntimeConfig(workers=workers, precision="fp32", strict=strict),
        seed=seed,
    )
    order = Order(len(samples), config.optim.batch_size, seed, shard)
    return kind(model, samples, val, config, CPU, order)


def shown(source: BatchSource, epoch: int, start: int = 0) -> list[bytes]:
    """A fingerprint of each example that counts, in order."""
    return [
        b"".join(part.numpy().tobytes() for part in example)
        for batch in source.batches(epoch, start)
        for example in zip(batch.inputs, batch.targets, batch.mask, batch.index, strict=True)
        if example[2].any()
    ]


def broken(samples: SampleSet, *which: int) -> SampleSet:
    """The same with unreadable files, some missing and some cut short."""
    found = list(samples.samples)
    for i in which:
        path = found[i].path.with_name(f"broken{i}.png")
        if i % 2:
            path.write_bytes(found[i].path.read_bytes()[:100])
        found[i] = dataclasses.replace(found[i], path=path)
    return dataclasses.replace(samples, samples=tuple(found))


def echo(inputs: torch.Tensor) -> HeadOutput:
    return HeadOutput(inputs.flatten(1), inputs)


def test_an_epoch_is_the_same_each_time_and_no_two_epochs_are(kind, samples, tmp_path):
    first, second = (create(kind, samples, tmp_path, min_crop=0.5) for _ in range(2))
    assert shown(first, 1) == shown(second, 1)
    assert shown(first, 3) == shown(second, 3)  # without the second one, as a resumed run
    assert shown(first, 1) != shown(first, 2)
    assert shown(create(kind, samples, tmp_path, seed=1), 1) != shown(first, 1)


def test_workers_change_nothing_and_leave_the_generator_of_dropout_alone(samples, tmp_path):
    one = create(ImageSource, samples, tmp_path, min_crop=0.5)
    two = create(ImageSource, samples, tmp_path, min_crop=0.5, workers=2)
    before = torch.get_rng_state()
    for epoch in (1, 2):
        assert shown(one, epoch) == shown(two, epoch)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def asked(monkeypatch) -> list[list[Key]]:
    """The keys of all batches that loaders have asked for so far."""
    seen, every = [], _Keys.__iter__

    def recording(self):
        for keys in every(self):
            seen.append(keys)
            yield keys

    monkeypatch.setattr(_Keys, "__iter__", recording)
    return seen


def test_batches_of_the_next_epoch_are_decoded_ahead_and_none_after_the_last(samples, tmp_path, asked):
    source = create(ImageSource, samples, tmp_path, workers=1, epochs=3)  # one worker is two batches ahead
    for epoch, ahead in ((1, [1, 1, 1, 2, 2]), (2, [1, 1, 1, 2, 2, 2, 3, 3]), (3, [1, 1, 1, 2, 2, 2, 3, 3, 3])):
        for _ in zip(range(3), source.batches(epoch), strict=False):  # without asking for a fourth
            pass
        assert [keys[0][0] for keys in asked] == ahead
    assert {key for keys in asked for key in keys} == {(epoch, index) for epoch in (1, 2, 3) for index in range(10)}


def test_a_rest_of_an_epoch_decodes_only_what_remains(samples, tmp_path, asked):
    source = create(ImageSource, samples, tmp_path, epochs=2)
    for epoch, start in ((1, 2), (2, 0), (2, 1)):
        list(source.batches(epoch, start))
    assert [keys[0][0] for keys in asked] == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_sequence_of_epochs_shows_what_new_sources_show(samples, tmp_path, workers):
    source = create(ImageSource, samples, tmp_path, workers=workers, min_crop=0.5, epochs=3)
    fresh = {epoch: shown(create(ImageSource, samples, tmp_path, min_crop=0.5), epoch) for epoch in range(6)}
    for epoch, start in ((0, 0), (1, 0), (2, 0), (2, 1), (1, 2), (2, 0), (5, 0), (4, 2), (3, 0), (3, 0)):
        assert shown(source, epoch, start) == fresh[epoch][4 * start :], (epoch, start)
        next(source.batches(3))  # left after one step, as a search does


def test_two_epochs_at_once_are_not_mixed_up(samples, tmp_path):
    source = create(ImageSource, samples, tmp_path, min_crop=0.5)
    first, second = list(source.batches(1)), list(source.batches(2))
    for step, (one, two) in enumerate(zip(source.batches(1), source.batches(2), strict=True)):
        assert torch.equal(one.inputs, first[step].inputs)
        assert torch.equal(two.inputs, second[step].inputs)


def test_a_signal_while_a_batch_is_read_loses_no_batch(samples, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    source, new = (create(ImageSource, samples, tmp_path, min_crop=0.5) for _ in range(2))
    batches = source.batches(1)
    next(batches)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "read_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(batches)
    assert shown(source, 1, start=1) == shown(new, 1)[4:]


def test_the_mask_of_a_full_batch_does_not_wait_for_the_device(samples, tmp_path, monkeypatch):
    source, seen = create(ImageSource, samples, tmp_path), []
    augment = source._augment
    monkeypatch.setattr(source, "_augment", lambda *args: seen.append(augment(*args)) or seen[-1])
    own = [example.mask is known for example, (*_, known) in zip(source.batches(1), seen, strict=True)]
    assert own == [True, True, False]  # the last is filled up with images that do not count


def test_each_image_comes_once_with_its_own_targets(kind, samples, tmp_path):
    source = create(kind, samples, tmp_path, flip=False, batch_size=5)
    first, second = (sorted(shown(source, epoch)) for epoch in (1, 2))
    assert first == second  # each image with the same targets, in another order
    assert len(set(first)) == 10
    examples = source.batches(1)
    labels = [one for _, *parts, _, _ in examples for one in torch.stack(parts, 1).tolist()]
    assert sorted(labels) == sorted(
        [part.tolist() for part in targets(one, samples.classes)] for one in samples.samples
    )


def test_settings_without_effect_are_named_once(samples, tmp_path, caplog):
    augment = ("colorjitter", "randomcrop(size=16)", "colorjitter(hue=0.1)", "randomcrop(size=16)")
    for rank in range(2):
        create(ImageSource, samples, tmp_path, shard=Shard(rank, 2), augment=augment)
    assert caplog.messages == [
        f"--augment {spec} never changes an image: give it arguments, or leave it out"
        for spec in ("colorjitter", "randomcrop(size=16)")
    ]


def test_steps_is_the_number_of_batches(kind, samples, tmp_path):
    for size in (1, 3, 4, 10, 32):  # 32: one batch of all there is
        source = create(kind, samples, tmp_path, batch_size=size)
        assert source.order.steps == len(list(source.batches(1))), size


def test_processes_share_each_step_and_show_what_one_process_shows(kind, samples, tmp_path):
    whole = create(kind, samples, tmp_path, batch_size=6, min_crop=0.5)
    parts = [create(kind, samples, tmp_path, shard=Shard(rank, 3), batch_size=6, min_crop=0.5) for rank in range(3)]
    for epoch in (1, 2):
        steps = zip(whole.batches(epoch), *(part.batches(epoch) for part in parts), strict=True)
        for together, *shares in steps:
            assert together.images == sum(share.images for share in shares)
            for place in range(4):
                torch.testing.assert_close(
                    torch.cat([share[place] for share in shares]), together[place], rtol=0, atol=0
                )


def test_the_rest_of_an_epoch_is_what_the_whole_one_shows(kind, samples, tmp_path):
    source = create(kind, samples, tmp_path, batch_size=4, min_crop=0.5)
    assert shown(source, 2, start=1) == shown(source, 2)[4:]
    assert list(source.batches(2, start=3)) == []


def test_unreadable_images_are_told_once_counted_and_left_out(kind, samples, tmp_path, caplog):
    bad = broken(samples, 0, 1, 4)
    source = create(kind, bad, tmp_path, val=broken(samples, 3), batch_size=1)
    for epoch in (1, 2):
        assert len(shown(source, epoch)) == 7
        assert [sample.path.stem for _, sample in source.localizations()] == list("012456789")
    assert len(source.skipped) == len([line for line in caplog.messages if line.startswith("skipped: ")]) == 4
    # Kept features remember who could not be read.
    again = create(kind, bad, tmp_path, val=broken(samples, 3), batch_size=1)
    assert len(shown(again, 1)) == 7
    assert len(list(again.localizations())) == 9
    assert again.skipped == source.skipped


def test_strict_stops_at_an_unreadable_image_also_of_kept_features(kind, samples, tmp_path):
    bad = broken(samples, 1)
    create(kind, bad, tmp_path)
    with pytest.raises(BadImageError, match=r"broken1\.png"):
        list(create(kind, bad, tmp_path, strict=True).batches(1))
    with pytest.raises(BadImageError, match=r"broken1\.png"):
        list(create(kind, samples, tmp_path, val=bad, strict=True).localizations())


def test_nothing_readable_is_no_batch_or_an_error(samples, tmp_path):
    bad = broken(samples, *range(10))
    assert shown(create(ImageSource, bad, tmp_path), 1) == []
    with pytest.raises(RunError, match="none of the training images"):
        create(FeatureSource, bad, tmp_path)


def test_features_are_those_of_the_image_or_of_its_mirror_image_half_each(samples, tmp_path):
    source = create(FeatureSource, samples, tmp_path, batch_size=10)
    model = Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=SMALL).eval()
    torch.manual_seed(0)
    model = Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=SMALL).eval()
    pixels = np.stack([fit(read_image(sample.path), SMALL)[0] for sample in samples.samples])
    images = Normalise(SMALL)(pixels)
    with torch.no_grad():
        straight, mirrored = model.backbone(images), model.backbone(images.flip(3))
    count = {"straight": 0, "mirrored": 0}
    for epoch in range(1, 11):
        for example in source.batches(epoch):
            for row in example.inputs:
                for name, features in (("straight", straight), ("mirrored", mirrored)):
                    count[name] += bool((features - row).abs().flatten(1).amax(1).min() < 2e-3)
    assert sum(count.values()) == 100
    assert 30 < count["mirrored"] < 70


def test_a_lost_file_is_a_row_of_its_own(tmp_path, samples):
    """Missing files have no size and no date, and still count in the key of the kept features."""
    lost = dataclasses.replace(samples, samples=(*samples.samples, Sample(path=Path("lost.png"), labels=["cat"])))
    source = create(FeatureSource, lost, tmp_path)
    assert len(shown(source, 1)) == 10
    assert np.isfinite([example.inputs.abs().max().item() for example in source.batches(1)]).all()
