"""Runs and checkpoints as files: their paths and the recipe of their model, read without loading torch."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from wsl import config
from wsl.config import Padding, Preprocessing
from wsl.errors import UserError, listed, nearest, quoted
from wsl.hub import fetch_run, hub_address

FILE_NAME = "model.safetensors"
METADATA_KEY = "wsl-toolkit"
POOLINGS = "poolings.json"
"""The list of poolings in the folder of the runs that one ``wsl-train`` trained."""
ONNX = ".onnx"
_TENSORS = (".safetensors", ".pth", ".pt")
_SUFFIXES = (*_TENSORS, ONNX)
_TIMM = "timm/"
_RUN = "a run folder of wsl-train"
_OPENED_BY = "; the weights of a classifier are opened by wsl-localize --weights and wsl.Localizer.from_classifier"
HF = "hf/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings from which a model is built again, before its weights are loaded.

    With a ``layer``, the backbone is that layer of a whole classifier, and ``norm_eps`` is the epsilon of a layer norm
    after the pooling. ``decoder`` are the layers that a map decoder reads in addition to the map; None without a
    decoder. ``probe`` is the number of posteriors that a linear probe reads in addition to pooled features; None
    without a probe. ``reactivated`` says whether maps are those of two classifiers (ReCAM).
    ``detector`` says whether there is a box detector, which reads the layers that the map decoder reads.
    """

    backbone: str
    pooling: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    neck: str | None = None
    maps_per_class: int = 1
    output_stride: int | None = None
    padding: Padding = "own"
    downsampling: str | None = None
    rectified: bool = False
    layer: str = ""
    norm_eps: float | None = None
    multi_label: bool = True
    decoder: tuple[str, ...] | None = None
    head: str | None = None
    probe: int | None = None
    reactivated: bool = False
    detector: bool = False


def is_run(path: str | Path) -> bool:
    """Whether a folder holds the model of a run.

    >>> is_run("runs/lost")
    False
    """
    return (Path(path) / FILE_NAME).is_file()


def runs_below(folder: Path) -> list[str]:
    """The names of the runs in a folder, sorted.

    >>> runs_below(Path("runs/lost"))
    []
    """
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE_NAME}"))


def _instead(path: Path) -> str:
    """What a folder without a model is, or that of a file that is not there, for a message."""
    folder = path if path.is_dir() else path.parent
    if (folder / "localizations.jsonl").is_file():
        return ", which holds results of wsl-localize"
    if (folder / "config.json").is_file():
        return f", an unfinished run, which wsl-train --resume --out {quoted(folder)} continues"
    runs = runs_below(folder)
    if runs:
        return f", which holds the runs {listed(runs)}"
    return f", a folder without one (of images? then --data {quoted(folder)})" if path.is_dir() else ""


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a run folder or its checkpoint.

    Raises:
        UserError: there is no such file, or it is not a checkpoint of ``wsl-train``.

    >>> read_recipe("runs/lost")
    Traceback (most recent call last):
    wsl.errors.UserError: no model at runs/lost: expected a run folder of wsl-train with model.safetensors, or that file
    """
    file = checkpoint_file(path)
    if not file.is_file():
        if hub_address(path) is not None:
            raise UserError(
                f"{path} has no {FILE_NAME}: expected a model that push_to_hub uploaded; classifiers of "
                f"transformers are named {HF}user/model"
            )
        raise UserError(f"no model at {path}{_instead(Path(path))}: expected {_RUN} with {FILE_NAME}, or that file")
    if file.suffix != ".safetensors":
        raise UserError(f"{file} is not a checkpoint of wsl-train (.safetensors){_OPENED_BY}")
    description = read_description(file)
    if description is None:
        raise UserError(f"{file} was not written by wsl-train: it does not name backbone, head and classes{_OPENED_BY}")
    try:
        return config.from_json(description, Recipe)
    except UserError as error:
        raise UserError(f"{file}: its description cannot be read ({error})") from error


def read_description(file: Path) -> str | None:
    """The recipe in a checkpoint's header, as JSON; None if another program wrote the file.

    Raises:
        UserError: the file is not a whole safetensors file.
    """
    try:
        with safe_open(file, framework="np") as opened:
            description: str | None = (opened.metadata() or {}).get(METADATA_KEY)
            return description
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}): train or copy it again") from error


def checkpoint_file(path: str | Path) -> Path:
    """The checkpoint of a run folder or of an address on the hub (which is downloaded), or the file itself.

    A file need not exist.

    >>> checkpoint_file("gap.onnx").as_posix()
    'gap.onnx'
    """
    address = hub_address(path)
    if address is not None:
        return fetch_run(address) / FILE_NAME
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def run_folder(weights: str | Path) -> Path | None:
    """The folder of a run, if `weights` names one or the checkpoint in it.

    >>> run_folder("resnet50") is None
    True
    """
    file = checkpoint_file(weights)
    return file.parent if file.name == FILE_NAME and file.is_file() else None


def model_digest(folder: Path) -> str:
    """SHA-256 of the checkpoint in a folder; empty without one."""
    file = folder / FILE_NAME
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_model(
    weights: str, local_weights: Path | None, model: str | None, classes: Iterable[str] = ()
) -> Recipe | None:
    """As `check_weights`, and also that a run has these ``classes``.

    Raises:
        UserError: as for `check_weights`, or the run does not have a class.

    >>> check_model("resnet50", None, None, ["tabby"]) is None
    True
    """
    recipe = check_weights(weights, local_weights, model)
    if recipe is not None:
        check_classes(classes, recipe.classes)
    return recipe


def check_weights(weights: str, local_weights: Path | None = None, model: str | None = None) -> Recipe | None:
    """Check ``--weights`` as far as possible without loading torch; returns the recipe of a run or checkpoint.

    The names of classifiers and the contents of ONNX files can only be checked by their libraries. With a `model`, a
    function in the user's code that builds the network, `weights` is the file of its tensors.

    Raises:
        UserError: there is no model at a path, a checkpoint was not written by ``wsl-train``, or a file does not fit
            the model.

    >>> check_weights("resnet50") is None
    True
    >>> check_weights("runs/lost")
    Traceback (most recent call last):
    wsl.errors.UserError: no model 'runs/lost' (a path, but nothing is there): expected a run folder of wsl-train, ...
    """
    if model is not None:
        _check_own(weights, local_weights, model)
        return None
    if local_weights is not None and weights.startswith(HF) and local_weights.is_dir():
        if not (local_weights / "config.json").is_file():
            raise UserError(f"{local_weights} has no config.json: expected a folder that save_pretrained wrote")
    elif local_weights is not None and not local_weights.is_file():
        raise UserError(f"no weights file at {local_weights}: expected a .safetensors or .pth file")
    if hub_address(weights) is not None:
        return read_recipe(weights)
    if is_path(weights) and not Path(weights).exists():
        raise no_model(weights)
    # With local weights, a bare name is that of a classifier even if a folder has the same name.
    if Path(weights).exists() and (local_weights is None or is_path(weights)) and not weights.endswith(ONNX):
        return None if local_weights is None and holds_tensors_alone(weights) else read_recipe(weights)
    return None


def holds_tensors_alone(weights: str | Path) -> bool:
    """Whether a path is a file of tensors that ``wsl-train`` did not write, such as a library's own ``.pth``.

    Raises:
        UserError: a safetensors file that is not whole.

    >>> holds_tensors_alone("runs/lost"), holds_tensors_alone("lost.pth")
    (False, False)
    """
    file = Path(weights)
    if not file.is_file() or file.suffix not in _TENSORS:
        return False
    return file.suffix != ".safetensors" or read_description(file) is None


def _check_own(weights: str, local_weights: Path | None, model: str) -> None:
    module, colon, function = model.partition(":")
    if not (module and colon and function):
        raise UserError(f"model {model!r}: expected the module and the function that builds it, package.module:build")
    if local_weights is not None:
        raise UserError(f"local weights {local_weights} of {model}: expected the file of its tensors as --weights")
    if not weights.endswith(_TENSORS):
        raise UserError(f"weights {weights!r} of {model}: expected the file of its tensors, {', '.join(_TENSORS)}")
    if not Path(weights).is_file():
        raise UserError(f"no weights file at {weights}: expected the file of the tensors of {model}")


def is_path(weights: str) -> bool:
    """Whether `weights` has the form of a path or an address rather than of a classifier's name.

    >>> is_path("runs/gap"), is_path("gap.onnx"), is_path("resnet50"), is_path("timm/resnet50.a1_in1k")
    (True, True, False, False)
    """
    return "\\" in weights or weights.endswith(_SUFFIXES) or ("/" in weights and not weights.startswith((_TIMM, HF)))


def no_model(weights: str, known: Iterable[str] = ()) -> UserError:
    """The error for ``--weights`` without a model; it suggests the nearest of the `known` names.

    >>> str(no_model("resnet5O", ["resnet50"])).partition(":")[0]
    "no model 'resnet5O' (did you mean 'resnet50'?)"
    """
    near = nearest(weights, known)
    hint = " (a path, but nothing is there)" if is_path(weights) else f" (did you mean {near!r}?)" if near else ""
    return UserError(
        f"no model {weights!r}{hint}: expected a run folder of wsl-train, its {FILE_NAME}, or a classifier's name "
        "such as resnet50, timm/resnet50.a1_in1k or hf/google/vit-base-patch16-224, or hf://user/model for a run on "
        "the Hugging Face hub"
    )


def _numbered(number: object, names: Sequence[str]) -> str:
    """The name of the class with this number, counted from 0; the first if there is no such class."""
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else names[0]


def check_classes(names: Iterable[str], known: Collection[str], who: str = "the model") -> None:
    """Check that a model has some classes.

    Raises:
        UserError: it lacks one; the message suggests the nearest of its classes.

    >>> check_classes(["dgo"], ["cat", "dog"])
    Traceback (most recent call last):
    wsl.errors.UserError: the model knows no class 'dgo'; did you mean 'dog'? it knows cat, dog
    """
    if isinstance(names, str):
        raise UserError(f"classes is {names!r}, expected a list of names: [{names!r}]")
    if not isinstance(known, (Set, Mapping)):
        known = dict.fromkeys(known)
    for name in names:
        if name not in known:
            listed = list(known)
            if not isinstance(name, str):
                raise UserError(
                    f"classes holds {name!r}, expected names of classes, such as {_numbered(name, listed)!r}"
                )
            near = nearest(name, listed)
            hint = f"did you mean {near!r}? " if near else ""
            if name.isdecimal() and int(name) < len(listed):
                hint = f"classes are given by name, and number {name} is {listed[int(name)]!r}; "
            more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
            raise UserError(f"{who} knows no class {name!r}; {hint}it knows {', '.join(listed[:20])}{more}")
