"""Settings of every command: their types and ranges, given in Python and as JSON."""

import dataclasses
import json
import typing

import numpy as np
import pytest
import torch

from wsl import config
from wsl.config import BoxConfig, OptimConfig, PickConfig, Preprocessing, RuntimeConfig, TrainConfig, from_json, to_json
from wsl.config.shared import parse_tta
from wsl.errors import UserError

KINDS = [kind for name in config.__all__ if dataclasses.is_dataclass(kind := getattr(config, name))]
PLAIN = (bool, int, float, str)


def plain_fields():
    """Every setting of a plain kind that has a default, with that kind."""
    for kind in KINDS:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            inner = typing.get_args(hints[field.name])
            kinds = [one for one in inner if one is not type(None)] if type(None) in inner else [hints[field.name]]
            if len(kinds) == 1 and kinds[0] in PLAIN:
                yield kind, field.name, kinds[0]


WRONG = {
    bool: [1, "yes"],
    int: [True, 1.5, "1", 2**63, 10**22],
    float: [True, "0.5", float("nan"), float("inf"), -float("inf"), [0.5]],
    str: [1, b"text", ["text"]],
}
REQUIRED = {
    "data": config.DataConfig(data="x"),
    "out": "x",
    "weights": "x",
    "runs": ("a", "b"),
    "run": "x",
    "predictions": "x",
    "sources": ("x",),
    "image": "x",
    "image_root": "x",
    "format": "coco",
}


@pytest.mark.parametrize(("kind", "name", "plain"), list(plain_fields()), ids=lambda one: getattr(one, "__name__", one))
def test_a_setting_of_another_kind_is_refused_by_its_name(kind, name, plain):
    missing = (dataclasses.MISSING, dataclasses.MISSING)
    given = {
        field.name: "x" if kind is config.DataConfig else REQUIRED[field.name]
        for field in dataclasses.fields(kind)
        if (field.default, field.default_factory) == missing
    }
    for value in WRONG[plain]:
        with pytest.raises(UserError, match=f"{name.replace('_', ' ')} is .*, expected "):
            kind(**{**given, name: value})


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (PickConfig, {"top_k": True}, "invalid value for type, expected .* @ .*top_k"),
        (PickConfig, {"top_k": 2.7}, r"invalid value for type, expected .* @ .*top_k"),
        (PickConfig, {"top_k": "3"}, "invalid value for type, expected .* @ .*top_k"),
        (PickConfig, {"classes": "dog"}, "invalid value for type, expected .* @ .*classes"),
        (PickConfig, {"classes": [1]}, "invalid value for type, expected .* @ .*classes"),
        (BoxConfig, {"threshold": "0.5"}, "threshold"),
        (Preprocessing, {"mean": [0.5, 0.5]}, "mean"),
        (OptimConfig, {"lr": {}}, "invalid value for type, expected .* @ .*lr"),
        (OptimConfig, {"loss": 5}, "loss"),
        (OptimConfig, {"schedule": "a\nb"}, "^[^\n]*schedule[^\n]*$"),
        (TrainConfig, {"data": 5, "out": "x"}, "data|settings"),
        (TrainConfig, {"data": {"data": 5}, "out": "x"}, "invalid value for type, expected .* @ .*data"),
    ],
)
def test_json_of_another_kind_is_refused(kind, values, message):
    with pytest.raises(UserError, match=message):
        from_json(json.dumps(values), kind)


@pytest.mark.parametrize(
    "text", ["[" * 200, '{"lr": 1e999}', '{"lr": NaN}', '{"epochs": 1' + "0" * 30 + "}", "[]", "7"]
)
def test_json_beyond_its_limits_is_refused(text):
    with pytest.raises(UserError):
        from_json(text, OptimConfig)


def test_whole_numbers_are_numbers():
    assert from_json('{"lr": 1}', OptimConfig).lr == 1.0
    assert to_json(from_json(to_json(RuntimeConfig()), RuntimeConfig)) == to_json(RuntimeConfig())


@pytest.mark.parametrize(
    "setting",
    [
        "lr",
        "weight_decay",
        "warmup_epochs",
        "decoder_lr",
        "decoder_weight_decay",
        "detector_lr",
        "detector_weight_decay",
    ],
)
def test_a_negative_rate_is_refused(setting):
    kind = next(kind for kind in (OptimConfig, config.DecoderConfig, config.DetectorConfig) if hasattr(kind, setting))
    with pytest.raises(UserError, match=f"{setting.replace('_', ' ')} is -1, expected"):
        kind(**{setting: -1})


def test_a_warm_up_longer_than_the_training_is_refused():
    assert OptimConfig(epochs=2, warmup_epochs=2).warmup_epochs == 2
    with pytest.raises(UserError, match="the learning rate would never reach its peak"):
        OptimConfig(epochs=2, warmup_epochs=2.5)


@pytest.mark.parametrize("of", [np.float32, np.float64, torch.tensor, float])
def test_scalars_of_other_libraries_are_written_as_json(of):
    settings = OptimConfig(lr=of(0.25), epochs=np.int64(3))
    assert from_json(to_json(settings), OptimConfig) == OptimConfig(lr=0.25, epochs=3)
    assert type(settings.epochs) is int


def test_text_is_no_list_of_views():
    with pytest.raises(UserError, match=r"tta is 'flip', expected a list: \['flip'\]"):
        parse_tta("flip")
