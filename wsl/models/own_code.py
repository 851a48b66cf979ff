"""Networks from the user's own code: built by a named function, with tensors from a file."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from wsl import config
from wsl.config import Preprocessing
from wsl.errors import UserError, first_line, nearest
from wsl.models.state_dicts import load_strictly
from wsl.models.weights import read_state_dict

log = logging.getLogger("wsl")


def build_own(model: str, weights: Path) -> nn.Module:
    """The network built by ``package.module:build``, with the tensors of a file, in evaluation mode.

    The module is imported as by ``python -m``, from the current folder first. The current folder stays on the import
    path, because the code may import further modules when it runs.

    Raises:
        UserError: there is no such module or function, it raises an error or does not return a `torch.nn.Module`, or
            the tensors do not fit.
    """
    build = _function(model)
    try:
        net = build()
    except Exception as error:  # it is the user's code
        raise UserError(
            f"{model} failed ({type(error).__name__}: {first_line(error)}): expected a function that "
            "builds the network without arguments"
        ) from error
    if not isinstance(net, nn.Module):
        raise UserError(f"{model} gives a {type(net).__name__}, expected a torch.nn.Module")
    load_strictly(net, read_state_dict(weights), weights, model)
    return net.eval()


def described(net: nn.Module, model: str) -> tuple[tuple[str, ...], Preprocessing]:
    """The class names and the preprocessing in a module's attributes ``classes`` and ``preprocessing``.

    ``classes`` are strings; ``preprocessing`` is a `wsl.config.Preprocessing` or a dict of its fields. Without them,
    classes are numbered and the preprocessing is the default, and a warning is logged.

    Raises:
        UserError: the dict has unknown fields or invalid values.

    >>> net = nn.Identity()
    >>> net.classes, net.preprocessing = ["cat", "dog"], {"image_size": 96}
    >>> classes, preprocessing = described(net, "nets:build")
    >>> classes, preprocessing.image_size
    (('cat', 'dog'), 96)
    """
    return _classes(getattr(net, "classes", None), model), _preprocessing(getattr(net, "preprocessing", None), model)


def _classes(given: object, model: str) -> tuple[str, ...]:
    if isinstance(given, (list, tuple)) and given and all(isinstance(name, str) for name in given):
        return tuple(given)
    log.warning("%s has no list of names as classes: they are called class 0, class 1, …", model)
    return ()


def _preprocessing(given: object, model: str) -> Preprocessing:
    if isinstance(given, Preprocessing):
        return given
    if not isinstance(given, Mapping):
        log.warning(
            "%s has no wsl.config.Preprocessing or dict as preprocessing: taking %d pixels and ImageNet's mean and std",
            model,
            Preprocessing().image_size,
        )
        return Preprocessing()
    try:
        return config.from_json(json.dumps(dict(given)), Preprocessing)
    except (TypeError, UserError) as error:
        raise UserError(f"the preprocessing of {model} cannot be read: {first_line(error)}") from error


def _function(model: str) -> Callable[[], object]:
    path, _, name = model.partition(":")
    module = _import(path, model)
    try:
        found = getattr(module, name)
    except AttributeError:
        near = nearest(name, vars(module))
        hint = f"did you mean {near!r}?" if near else "expected the name of a function"
        raise UserError(f"{path} ({module.__file__}) has no {name!r}: {hint}") from None
    if not callable(found):
        raise UserError(f"{model} is a {type(found).__name__}, expected a function that builds the network")
    build: Callable[[], object] = found
    return build


def _import(path: str, model: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may just have been written, for example in a notebook
    try:
        return importlib.import_module(path)
    except Exception as error:  # it is the user's code
        if isinstance(error, ModuleNotFoundError) and error.name and f"{path}.".startswith(f"{error.name}."):
            raise UserError(
                f"no module {error.name!r} for {model}: expected package.module:build, from the current folder "
                f"({here}) or installed"
            ) from error
        raise UserError(f"{path} could not be imported ({type(error).__name__}: {first_line(error)})") from error
