"""LVIS's additions to COCO's layout: which classes were verified in an image, and images named by their URL."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from wsl.errors import UserError

FILES = "lvis_*.json"
_NAME = re.compile(r"lvis_v\d+(?:\.\d+)?_(.+)")


def lvis_split(stem: str) -> str | None:
    """The split in a file's name; None if it is not named as in LVIS.

    >>> lvis_split("lvis_v1_train"), lvis_split("instances_train")
    ('train', None)
    """
    match = _NAME.fullmatch(stem)
    return match.group(1) if match else None


def with_file_names(images: Any) -> Any:
    """Image records with a ``file_name``; if it is missing, the folder and file of ``coco_url``.

    >>> with_file_names([{"coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg"}])[0]["file_name"]
    'val2017/000000397133.jpg'
    """
    if not isinstance(images, list):
        return images
    return [
        {**image, "file_name": "/".join(urlsplit(image["coco_url"]).path.split("/")[-2:])}
        if isinstance(image, dict) and "file_name" not in image and isinstance(image.get("coco_url"), str)
        else image
        for image in images
    ]


def verified_absent(
    image: Mapping[str, Any], categories: Mapping[int, str], annotated: Collection[str], where: str
) -> tuple[str, ...] | None:
    """The classes that are absent from the image according to ``neg_category_ids``; None in other files.

    Raises:
        UserError: a category is unknown, or is annotated in the image.

    >>> verified_absent({"neg_category_ids": [2]}, {1: "cat", 2: "dog"}, ["cat"], "a.jpg")
    ('dog',)
    """
    if image.get("neg_category_ids") is None:
        return None
    names = _names(image, "neg_category_ids", categories, where)
    both = next((name for name in names if name in annotated), None)
    if both is not None:
        raise UserError(f"{where}: {both!r} is annotated, and among neg_category_ids: remove one")
    return names


def not_exhaustive(image: Mapping[str, Any], categories: Mapping[int, str], where: str) -> tuple[str, ...]:
    """The classes whose objects are not all annotated according to ``not_exhaustive_category_ids``.

    Raises:
        UserError: a category is unknown.

    >>> not_exhaustive({"not_exhaustive_category_ids": [2]}, {1: "cat", 2: "dog"}, "a.jpg")
    ('dog',)
    """
    return _names(image, "not_exhaustive_category_ids", categories, where)


def _names(image: Mapping[str, Any], field: str, categories: Mapping[int, str], where: str) -> tuple[str, ...]:
    numbers = image.get(field)
    numbers = () if numbers is None else numbers
    if not isinstance(numbers, Sequence) or isinstance(numbers, str):
        raise UserError(f"{where}: {field} is {numbers!r:.80}, expected a list of categories")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or number not in categories:
            raise UserError(f"{where}: {field} has {number!r:.40}, which is not among the categories")
    return tuple(dict.fromkeys(categories[number] for number in numbers))
