"""A small world to run the verbs in: coloured things on noise, labelled as wholes, and a model trained on them."""

import contextlib
import json
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from wsl.config import (
    DataConfig,
    DecodeConfig,
    DecoderConfig,
    ModelConfig,
    OptimConfig,
    Preprocessing,
    RuntimeConfig,
    TrainConfig,
)
from wsl.formats.shards.parts import PartWriter
from wsl.models.tiny import TinyNet
from wsl.verbs.finished import decode
from wsl.verbs.train import train

TIMING = ("seconds", "images_per_second")
COLORS = {"blue": (40, 60, 230), "red": (230, 50, 40)}
XML = """<annotation><filename>{name}.png</filename><size><width>{w}</width><height>{h}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>
<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"""


def draw_thing(image: np.ndarray, label: str, rng: np.random.Generator) -> str:
    height, width = image.shape[:2]
    side = int(rng.integers(14, 22))
    x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    image[y : y + side, x : x + side] = COLORS[label]
    return OBJECT.format(label=label, x0=x + 1, y0=y + 1, x1=x + side, y1=y + side)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A VOC folder of two classes, 48 images to train on and 16 to validate on."""
    root, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("blue\nred\n", encoding="utf-8")
    for split, count in (("train", 48), ("val", 16)):
        names = [f"{split}{i:02d}" for i in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
        for i, name in enumerate(names):
            width, height = 80 + 8 * (i % 3), 64
            image = rng.integers(90, 160, (height, width, 3)).astype(np.uint8)
            labels = [["blue"], ["red"], ["blue", "red"]][i % 3]
            objects = "".join(draw_thing(image, label, rng) for label in labels)
            cv2.imwrite(str(root / "JPEGImages" / f"{name}.png"), image[..., ::-1])
            text = XML.format(name=name, w=width, h=height, objects=objects)
            (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def heed_ctrl_c() -> Callable[[], object]:
    """For a process that is to be interrupted: tests started in the background hand down that SIGINT is ignored."""
    return lambda: signal.signal(signal.SIGINT, signal.default_int_handler)


class Dropping(TinyNet):
    """The small network with something to draw at random."""

    def __init__(self) -> None:
        super().__init__()
        self.append(nn.Dropout(0.3))


@pytest.fixture(scope="session")
def dropping() -> type[TinyNet]:
    """A small network to take the place of `TinyNet`, with something to draw at random."""
    return Dropping


def epoch_figures(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in lines]


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.fixture(scope="session")
def figures() -> Callable[[Path], list[dict[str, float]]]:
    """``metrics.jsonl`` of a run without what a clock decides."""
    return epoch_figures


@pytest.fixture(scope="session")
def same() -> Callable[[object, object], bool]:
    """Whether two values are equal to the last bit, tensors included."""
    return equal


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """Two runs have the same figures, state and model, to the last bit."""

    def check(a: Path, b: Path) -> None:
        assert epoch_figures(a) == epoch_figures(b)
        assert equal(*(torch.load(out / "last" / "state.pt", weights_only=True) for out in (a, b)))
        assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()

    return check


@pytest.fixture(scope="session")
def decoded(run, tmp_path_factory) -> Path:
    """The run with a map decoder."""
    out = shutil.copytree(run, tmp_path_factory.mktemp("decoded") / "run")
    decoding = DecoderConfig(decode=True, decoder_rounds=2, decoder_epochs=6, decoder_batch_size=8)
    runtime = RuntimeConfig(device="cpu", precision="fp32", workers=0)
    result = decode(DecodeConfig(run=out, decoding=decoding, runtime=runtime))
    assert (result.model, result.rounds, result.skipped) == (out / "model.safetensors", 2, 0)
    return out


@pytest.fixture(scope="session")
def photos(world) -> Path:
    """The folder of its images."""
    return world / "JPEGImages"


@pytest.fixture(scope="session")
def copy_photos(photos) -> Callable[..., Path]:
    """Put copies of some of its images into a folder, and beside or instead of them files with other contents."""

    def copy(place: Path, names: Iterable[str], damaged: Mapping[str, bytes]) -> Path:
        for name in names:
            shutil.copy(photos / name, place)
        for name, contents in damaged.items():
            (place / name).write_bytes(contents)
        return place

    return copy


@pytest.fixture
def interrupted_at(monkeypatch) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """For a block in which Ctrl-C stops a run in shards at its n-th image."""

    @contextlib.contextmanager
    def interrupted_at(image: int) -> Iterator[None]:
        add, seen = PartWriter.add, []

        def interrupted(self, row, found):
            seen.append(row)
            if len(seen) == image:
                raise KeyboardInterrupt
            add(self, row, found)

        with monkeypatch.context() as patch:
            patch.setattr(PartWriter, "add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                yield

    return interrupted_at


@pytest.fixture(scope="session")
def run(world, tmp_path_factory) -> Path:
    """A run folder with a model that knows red from blue."""
    out = tmp_path_factory.mktemp("runs") / "lse"
    result = train(
        TrainConfig(
            data=DataConfig(data=world),
            out=out,
            model=ModelConfig(backbone="tinynet", weights="none", pooling="lse(beta=2)"),
            preprocessing=Preprocessing(image_size=64),
            optim=OptimConfig(epochs=12, batch_size=8, lr=3e-3, backbone_lr_factor=1.0),
            runtime=RuntimeConfig(device="cpu", precision="fp32", workers=0),
        )
    )
    assert result.mAP is not None
    assert result.mAP > 0.9
    return out
