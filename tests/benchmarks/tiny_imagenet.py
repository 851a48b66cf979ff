"""The WSOL benchmark's metadata lists for the 20 classes of tiny-imagenet-wsol20.zip, and its images unpacked.

    python tests/benchmarks/tiny_imagenet.py tiny-imagenet-wsol20.zip runs/tiny
    wsl-train --data runs/tiny/metadata --val-split None --out runs/tiny/gap --freeze-backbone
    wsl-evaluate --weights runs/tiny/gap --data runs/tiny/metadata --select-threshold val --split test \
        --protocol wsolevaluation --out runs/tiny/gap/test

Writes ``metadata/{train,val,test}`` and ``images/``. As in the benchmark the split train has labels only; val, the last
sixth of each class's training images, has boxes to select a threshold with; test is Tiny ImageNet's own validation set.
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

SIDE = 64
HELD_OUT = 6

Row = tuple[str, int, tuple[int, int, int, int]]


def unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """The images, below the archive's own top folder."""
    for name in archive.namelist():
        parts = PurePosixPath(name).parts[1:]
        if not name.endswith(".JPEG") or ".." in parts:
            continue
        place = folder.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as packed, place.open("wb") as file:
            shutil.copyfileobj(packed, file)


def rows(archive: zipfile.ZipFile, name: str, wnids: list[str]) -> Iterable[Row]:
    """Image, class number and box of each line of a box file; training files name the class by their folder."""
    place = PurePosixPath(name)
    for line in archive.read(name).decode().splitlines():
        cells = line.split("\t")
        image, wnid, *corners = cells if len(cells) == 6 else (cells[0], place.parent.name, *cells[1:])
        x0, y0, x1, y1 = map(int, corners)
        path = PurePosixPath(*place.parent.parts[1:], "images", image)
        yield str(path), wnids.index(wnid), (x0, y0, x1, y1)


def write(folder: Path, images: Iterable[Row], *, boxes: bool) -> None:
    """The lists of one split."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for name, label, box in images:
        texts["image_ids"].append(name)
        texts["class_labels"].append(f"{name},{label}")
        texts["image_sizes"].append(f"{name},{SIDE},{SIDE}")
        if boxes:
            texts["localization"].append(f"{name},{','.join(map(str, box))}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_lists(source: Path, out: Path) -> Path:
    """Unpack images and write lists, unless they are there; returns the folder of the lists."""
    metadata = out / "metadata"
    if (metadata / "test" / "image_ids.txt").is_file():
        return metadata
    with zipfile.ZipFile(source) as archive:
        top = PurePosixPath(archive.namelist()[0]).parts[0]
        wnids = archive.read(f"{top}/wnids.txt").decode().split()
        words = dict(line.split("\t", 1) for line in archive.read(f"{top}/words.txt").decode().splitlines())
        unpack(archive, out / "images")
        train, val = [], []
        for wnid in wnids:
            images = list(rows(archive, f"{top}/train/{wnid}/{wnid}_boxes.txt", wnids))
            kept = len(images) - len(images) // HELD_OUT
            train += images[:kept]
            val += images[kept:]
        test = rows(archive, f"{top}/val/val_annotations.txt", wnids)
        write(metadata / "train", train, boxes=False)
        write(metadata / "val", val, boxes=True)
        write(metadata / "test", test, boxes=True)
    names = [words.get(wnid, wnid).split(",")[0] for wnid in wnids]
    (metadata / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return metadata


def main() -> None:
    """Unpack and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zip", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    print(make_lists(args.zip, args.out))


if __name__ == "__main__":
    main()
