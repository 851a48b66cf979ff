"""Download of Pascal VOC with torchvision (its URLs and checksums)."""

from __future__ import annotations

from pathlib import Path

from wsl.errors import RunError, UserError

_YEARS = ("2007", "2012")
_PAGE = "http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/"


def download_voc(root: Path, year: str | None, split: str | None) -> None:
    """Download and unpack one year of VOC into ``root`` (or ``root/VOCdevkit``), unless it exists.

    The year is 2012 by default. The splits of 2007's test set come in a separate archive.

    Raises:
        UserError: the year is neither 2007 nor 2012.
        RunError: the download or the archive failed.
    """
    year = (year or "2012").removeprefix("VOC")
    if year not in _YEARS:
        raise UserError(f"VOC {year} cannot be downloaded, expected one of {', '.join(_YEARS)}: unpack it by hand")
    part = "test" if (year, split) == ("2007", "test") else "trainval"
    list_file = Path("ImageSets", "Main", f"{part}.txt")
    folders = (root, root / f"VOC{year}", root / "VOCdevkit" / f"VOC{year}")
    if any((folder / list_file).is_file() for folder in folders):
        return
    from torchvision.datasets import VOCDetection  # slow to import and rarely needed

    target = root.parent if root.name == "VOCdevkit" else root
    try:
        target.mkdir(parents=True, exist_ok=True)
        VOCDetection(target, year=year, image_set=part, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise RunError(
            f"VOC {year} could not be downloaded into {target} ({' '.join(str(error).split())}): get the archive from "
            f"{_PAGE.format(year=year)}, unpack it there, and leave the download out"
        ) from error
