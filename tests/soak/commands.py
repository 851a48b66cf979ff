"""The commands that write, on a small world of their own: what kills and full disks are tried on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsl import cli
from wsl.formats.exchange import LAYOUTS

VOC = """<annotation><size><width>40</width><height>30</height></size><object><name>{label}</name><bndbox><xmin>3</xmin>
<ymin>4</ymin><xmax>20</xmax><ymax>22</ymax></bndbox></object></annotation>"""
IMAGES = 8
# Times, and what a run that is stopped leaves on purpose.
UNEQUAL = ("seconds.json", "metrics.jsonl", "config.json", "localize.json", "localizations.jsonl.partial", ".wsl-lock")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line on the world in ``root``, with results in ``out``; ``again`` is added where some are there."""

    name: str
    run: Callable[[Sequence[str]], int]
    arguments: Callable[[Path], list[str]]
    again: tuple[str, ...] = ()

    def __call__(self, root: Path, out: Path, *, again: bool = False) -> tuple[int, str]:
        """The exit code, and what was printed to people."""
        said = io.StringIO()
        arguments = [*self.arguments(root), "--out", str(out), *(self.again if again else ())]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = self.run(arguments)
        return code, said.getvalue()


def make_world(root: Path) -> None:
    """A VOC folder, a model and its localizations."""
    rng = np.random.default_rng(0)
    for folder in ("voc/JPEGImages", "voc/Annotations", "voc/ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"{i:03}" for i in range(IMAGES)]
    for i, name in enumerate(names):
        pixels = rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "voc" / "JPEGImages" / f"{name}.png")
        text = VOC.format(label="cat" if i % 2 else "dog")
        (root / "voc" / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    for split in ("train", "val"):
        (root / "voc" / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
    for command, out in (("train", "run"), ("localize", "found")):
        code, said = COMMANDS[command](root, root / out)
        assert code == 0, said


def _train(root: Path) -> list[str]:
    size = ["--image-size", "32", "--backbone", "tinynet", "--weights", "none", "--pooling", "gap", "--epochs", "3"]
    return ["--data", str(root / "voc"), *size, "--batch-size", "4", "--workers", "0", "--device", "cpu"]


def _localize(root: Path) -> list[str]:
    photos, run = str(root / "voc" / "JPEGImages"), str(root / "run")
    return [photos, "--weights", run, "--heatmaps", "--maps", "--device", "cpu", "--workers", "0"]


def _evaluate(root: Path) -> list[str]:
    return ["--predictions", str(root / "found"), "--data", str(root / "voc"), "--split", "val"]


def _export(format: str) -> Callable[[Path], list[str]]:
    return lambda root: [str(root / "found"), "--format", format, "--classes", "cat", "dog"]


def _report(root: Path) -> list[str]:
    return ["--predictions", str(root / "found"), "--report"]


FORMATS = [one for one in LAYOUTS if one != "geojson"]  # all that are written into a folder, of any images
COMMANDS = {
    "train": Command("train", cli.train, _train, ("--resume",)),
    "localize": Command("localize", cli.localize, _localize, ("--overwrite",)),
    "localize resumed": Command("localize resumed", cli.localize, _localize, ("--resume",)),
    "evaluate": Command("evaluate", cli.evaluate, _evaluate),
    "report": Command("report", cli.visualize, _report),
    **{f"export {one}": Command(f"export {one}", cli.export, _export(one), ("--overwrite",)) for one in FORMATS},
}


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder that two runs write alike wherever it is, by their names."""
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    kept = {name: path for name, path in named.items() if Path(name).name not in UNEQUAL and "shard-" not in name}
    own = str(folder).encode()  # in the README of a run

    def told(path: Path) -> bytes:
        # The number of a shard is the next that is free.
        return re.sub(rb"shard-[0-9]+", b"shard", path.read_bytes()).replace(own, b".")

    return {name: told(path) for name, path in kept.items()}


def litter(folder: Path) -> list[str]:
    """What no run should leave."""
    return sorted(path.name for path in folder.rglob(".*") if ".wsl-" in path.name)
