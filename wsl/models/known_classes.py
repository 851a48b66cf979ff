"""Class names of the networks of torchvision and timm (those of ImageNet and its subsets) and of transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision import models as torchvision_models

from wsl.models.state_dicts import is_auxiliary
from wsl.models.timm_models import timm_data

_IMAGENET = 1000


def known_classes(net: Any) -> tuple[str, ...]:
    """The names of a network's classes if its library knows them; none for any other network.

    A torchvision network with 1000 classes has those of ImageNet. A timm network has the names of its weights, or those
    of the subset of ImageNet-21k with the same number of classes. An image classifier of transformers has those of its
    configuration.

    >>> known_classes(torchvision_models.squeezenet1_1(weights=None))[281], known_classes(nn.Linear(2, 1000))
    ('tabby', ())
    """
    library = type(net).__module__.partition(".")[0]
    if library == "timm":
        return _of_timm(net)
    if library == "transformers" and "ForImageClassification" in type(net).__name__:
        return configured_classes(net.config)
    known = library == "torchvision" and _outputs(net) == _IMAGENET
    return _imagenet() if known else ()


def configured_classes(config: Any) -> tuple[str, ...]:
    """The names of the classes in a configuration of transformers, in their order.

    >>> from types import SimpleNamespace
    >>> configured_classes(SimpleNamespace(id2label={1: "dog", 0: "cat"}))
    ('cat', 'dog')
    """
    labels: dict[int, object] = config.id2label or {}
    return tuple(str(labels[index]) for index in sorted(labels))


def _imagenet() -> tuple[str, ...]:
    return tuple(torchvision_models.ResNet50_Weights.DEFAULT.meta["categories"])


def _outputs(net: nn.Module) -> int:
    """The number of outputs of the last layer that has weights."""
    weights = [tensor for key, tensor in net.named_parameters() if tensor.ndim >= 2 and not is_auxiliary(key)]
    return len(weights[-1]) if weights else 0


def _of_timm(net: Any) -> tuple[str, ...]:
    count = getattr(net, "num_classes", 0)
    own = (getattr(net, "pretrained_cfg", None) or {}).get("label_names")
    if isinstance(own, (list, tuple)) and len(own) == count:
        return _distinct([str(name) for name in own], [str(i) for i in range(count)])
    if count == _IMAGENET:
        return _imagenet()
    data = timm_data()
    subset = data.infer_imagenet_subset(net)
    if subset is None:
        return ()
    info = data.ImageNetInfo(subset)
    names = [info.index_to_description(i).partition(",")[0] for i in range(count)]
    return _distinct(names, [info.index_to_label_name(i) for i in range(count)])


def _distinct(names: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    """The names made distinct: equal names are followed by their keys.

    >>> _distinct(["crane", "crane", "dog"], ["n1", "n2", "n3"])
    ('crane (n1)', 'crane (n2)', 'dog')
    """
    counts = Counter(names)
    return tuple(name if counts[name] == 1 else f"{name} ({key})" for name, key in zip(names, keys, strict=True))
