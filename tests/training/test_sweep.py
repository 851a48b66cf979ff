"""Many poolings of class maps that were computed once."""

import numpy as np
import pytest
import torch

from heads import HeadOutput
from wsl.config import Preprocessing, RuntimeConfig
from wsl.errors import RunError, UserError
from wsl.models import Localizer
from wsl.samples import Sample, SampleSet
from wsl.training.sweep import ClassMaps, class_maps, sweep_poolings

RUNTIME = RuntimeConfig(device="cpu", precision="fp32", workers=0)


def model(samples, pooling="gap", **more):
    torch.manual_seed(0)
    return Localizer(
        "tinynet",
        classes=samples.classes,
        pooling=pooling,
        weights="none",
        preprocessing=Preprocessing(image_size=64),
        **more,
    )


@pytest.mark.parametrize("multi_label", [True, False])
def test_each_setting_is_what_a_model_with_that_pooling_reaches(samples, multi_label, validated):
    maps = class_maps(model(samples, multi_label=multi_label), samples, runtime=RUNTIME, batch_size=4)
    poolings = ["gap", "kmax(k=3)", "lse(beta=2)", "csra(heads=(99,))"]
    figures = sweep_poolings(maps, poolings)
    assert [row.pooling for row in figures] == poolings
    for row in figures[:3]:
        other = model(samples, row.pooling, multi_label=multi_label)
        outputs = class_maps(other, samples, runtime=RUNTIME)
        torch.testing.assert_close(outputs.maps, maps.maps)  # the same seed, the same convolution
        scores = other.head.pooling(maps.maps)
        expected = validated(other, samples, HeadOutput(scores, maps.maps))
        assert row.mAP == pytest.approx(expected.mAP)
        assert row.pointing == pytest.approx(expected.pointing)


def test_the_network_runs_once_and_is_left_as_it_was(samples):
    network = model(samples).train()
    calls = []
    network.backbone.register_forward_hook(lambda module, *_: calls.append(module.training))
    maps = class_maps(network, samples, runtime=RUNTIME, batch_size=5)
    sweep_poolings(maps, [f"kmax(k={k})" for k in range(1, 20)])
    assert calls == [False, False]
    assert network.training


def test_unreadable_images_are_counted_and_left_out(samples):
    samples.samples[3].path.write_bytes(b"not a picture")
    maps = class_maps(model(samples), samples, runtime=RUNTIME)
    assert (len(maps.maps), len(maps.targets), maps.skipped) == (9, 9, 1)
    lost = SampleSet(classes=samples.classes, samples=[Sample(path="lost.jpg", labels=["cat"])])
    with pytest.raises(RunError, match="none of the images could be read"):
        class_maps(model(samples), lost, runtime=RUNTIME)


def test_a_split_without_positives_has_no_map():
    maps = ClassMaps(
        classes=("cat",),
        maps=torch.zeros(2, 1, 3, 3),
        targets=np.array([[0], [1]]),
        known=np.array([[1], [0]]),
        pointing=None,
        multi_label=True,
        skipped=0,
    )
    (row,) = sweep_poolings(maps, ["gap"])
    assert row.mAP is None
    assert row.pointing is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kmaxx", "unknown pooling 'kmaxx': did you mean 'kmax'"),
        ("attention", "pooling 'attention' has learnt weights of its own"),
        ("cat", "pooling 'cat' has learnt weights of its own"),
        ("adaptive(size=2)", "has learnt weights of its own"),
        ("stochastic", "takes maps of 0 or more: give it probability=softmax"),
    ],
)
def test_poolings_that_need_more_than_maps_are_refused(samples, spec, message):
    maps = class_maps(model(samples), samples, runtime=RUNTIME)
    with pytest.raises(UserError, match=message):
        sweep_poolings(maps, ["gap", spec])


def test_other_classes_than_the_models_are_refused(samples):
    others = SampleSet(classes=("a", "b"), samples=[Sample(path="a.jpg", labels=["a"])])
    with pytest.raises(UserError, match=r"classes \(2\) are not the model's \(3\)"):
        class_maps(model(samples), others, runtime=RUNTIME)
