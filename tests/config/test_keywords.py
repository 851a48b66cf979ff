"""Settings by keyword: the config that nested groups would give, suggestions, and conversions."""

from pathlib import Path

import numpy as np
import pytest
import torch

import wsl
from wsl.config import (
    BoxConfig,
    DataConfig,
    EvaluateConfig,
    LocalizeConfig,
    ModelConfig,
    OptimConfig,
    RuntimeConfig,
    TrainConfig,
    to_json,
)
from wsl.config.keywords import _fields, by_keywords, from_keywords
from wsl.errors import UserError

TWO = {"data": "photos", "out": "run"}


def test_names_find_their_groups():
    given = from_keywords(
        TrainConfig, {**TWO, "format": "voc", "pooling": "gmp", "epochs": 3, "seed": 7, "device": "cpu"}
    )
    expected = TrainConfig(
        data=DataConfig(data=Path("photos"), format="voc"),
        out=Path("run"),
        model=ModelConfig(pooling="gmp"),
        optim=OptimConfig(epochs=3),
        runtime=RuntimeConfig(device="cpu"),
        seed=7,
    )
    assert given == expected


def test_a_group_can_be_given_whole():
    data = DataConfig(data=Path("photos"), format="coco")
    assert from_keywords(TrainConfig, {"data": data, "out": Path("run")}) == TrainConfig(data=data, out=Path("run"))
    given = from_keywords(TrainConfig, {"data": data, "out": "run", "format": "voc"})
    assert given.data == DataConfig(data=Path("photos"), format="voc")


def test_defaults_of_a_config_outlive_a_setting_of_their_group():
    given = from_keywords(EvaluateConfig, {"predictions": "found", "data": "VOC2012", "device": "cpu"})
    assert given.runtime == RuntimeConfig(device="cpu", precision="fp32")


def test_a_group_that_may_be_absent_is_absent_until_it_is_named():
    assert from_keywords(LocalizeConfig, {"sources": "a.jpg", "weights": "run", "out": "o"}).data is None
    named = from_keywords(LocalizeConfig, {"data": "VOC2012", "weights": "run", "out": "o", "threshold": 0.4})
    assert named.data == DataConfig(data=Path("VOC2012"))
    assert named.boxes == BoxConfig(threshold=0.4)


def test_one_value_is_a_sequence_of_one():
    given = from_keywords(
        LocalizeConfig, {"sources": ["a", Path("b")], "weights": Path("run"), "out": "o", "classes": "dog"}
    )
    assert given.sources == ("a", str(Path("b")))
    assert given.weights == "run"
    assert given.pick.classes == ("dog",)


def test_any_iterable_is_a_sequence():
    given = from_keywords(TrainConfig, {**TWO, "augment": (name for name in ("cutmix", "randaugment")), "track": []})
    assert given.optim.augment == ("cutmix", "randaugment")
    assert given.track == ()


@pytest.mark.parametrize("whole", [np.int64(3), np.array(3), torch.tensor(3)])
@pytest.mark.parametrize("fraction", [np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_numbers_of_numpy_and_torch_are_numbers(whole, fraction):
    given = from_keywords(TrainConfig, {**TWO, "epochs": whole, "lr": fraction, "decode": np.True_})
    expected = from_keywords(TrainConfig, {**TWO, "epochs": 3, "lr": 0.5, "decode": True})
    assert to_json(given) == to_json(expected)
    assert OptimConfig(epochs=whole, lr=fraction) == expected.optim


def test_scalars_of_numpy_and_any_iterable_are_plain_values():
    found = {"sources": (name for name in "ab"), "weights": np.str_("run"), "out": "o", "top_k": np.int64(3)}
    given = from_keywords(LocalizeConfig, {**found, "threshold": np.float32(0.5), "classes": np.array(["cat", "dog"])})
    assert (given.sources, given.weights, given.pick.classes) == (("a", "b"), "run", ("cat", "dog"))
    assert [type(one) for one in (given.weights, given.pick.top_k, given.boxes.threshold)] == [str, int, float]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**TWO, "poling": "gap"}, "unknown setting 'poling': did you mean 'pooling'"),
        ({**TWO, "qqqq": 1}, "unknown setting 'qqqq': expected a field of wsl.config.TrainConfig"),
        ({**TWO, "model": "resnet50"}, r"model is 'resnet50', expected a wsl\.config\.ModelConfig, or its settings by"),
        ({"data": "photos"}, "out is missing"),
        ({"out": "run"}, "data is missing"),
        ({**TWO, "epochs": "three"}, "epochs is 'three', expected a whole number"),
        ({**TWO, "epochs": 0}, "epochs"),
        ({**TWO, "lr": np.ones(1)}, r"lr is array\(\[1\.\]\), expected a finite number"),
        ({**TWO, "lr": 10**400}, "lr is 1000+, expected a finite number"),
        ({**TWO, "data": ""}, "data is '', expected a path"),
    ],
)
def test_a_mistake_is_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        from_keywords(TrainConfig, settings)


def test_a_function_takes_its_config_or_keywords_and_its_own_options():
    @by_keywords(LocalizeConfig, "sources")
    def verb(config: LocalizeConfig, *, loud: bool = False) -> tuple[LocalizeConfig, bool]:
        return config, loud

    settings = {"weights": "run", "out": "o"}
    expected = from_keywords(LocalizeConfig, {"sources": ("a", "b"), **settings})
    assert verb("a", "b", **settings) == (expected, False)
    assert verb("a", "b", loud=True, **settings) == verb(expected, loud=True) == (expected, True)
    with pytest.raises(UserError, match="sources is given twice"):
        verb("a", sources=("b",), **settings)


def test_every_name_means_one_setting():
    """As for flags: a name of two groups could not be told apart."""

    def leaves(kind: type) -> list[str]:
        return [name for one, group in _fields(kind) for name in ([one.name] if group is None else leaves(group))]

    for kind in (
        wsl.config.TrainConfig,
        wsl.config.EvaluateConfig,
        wsl.config.LocalizeConfig,
        wsl.config.ExportConfig,
        wsl.config.CompareConfig,
        wsl.config.DoctorConfig,
    ):
        assert len(leaves(kind)) == len(set(leaves(kind))), kind
