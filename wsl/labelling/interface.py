"""The labelling interface of a Label Studio project, as far as a localizer can answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsl.documents import parse_xml
from wsl.errors import UserError, listed

_EXPECTED = "a labelling interface of Label Studio"


@dataclass(frozen=True, slots=True)
class Control:
    """A control of the interface: its name, the name of its image, and the label of each class.

    >>> Control("label", "image", {"dog": "Dog"}).labels["dog"]
    'Dog'
    """

    name: str
    image: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Interface:
    """The field of a task that holds the image, and the controls for rectangles and for choices of the whole image.

    Classes of the model are matched with labels of the interface by value or alias, ignoring case.
    """

    field: str
    rectangles: Control | None
    choices: Control | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes that the interface asks for."""
        controls = [control for control in (self.rectangles, self.choices) if control is not None]
        return tuple(dict.fromkeys(name for control in controls for name in control.labels))

    @classmethod
    def read(cls, xml: str, classes: Sequence[str]) -> Interface:
        """Parse the interface from its XML, for a model with these classes.

        Raises:
            UserError: the XML is not well-formed, has no control for rectangles or choices of an image, or shares no
                label with the model.

        >>> xml = "<View><Image name='photo' value='$url'/><RectangleLabels name='box' toName='photo'>"
        >>> found = Interface.read(xml + "<Label value='Dog'/></RectangleLabels></View>", ["cat", "dog"])
        >>> found.field, found.rectangles
        ('url', Control(name='box', image='photo', labels={'dog': 'Dog'}))
        """
        root = parse_xml(xml, "the project's labelling interface", _EXPECTED)
        images = {tag.get("name"): str(tag.get("value", "")).removeprefix("$") for tag in root.iter("Image")}
        rectangles = _control(root, "RectangleLabels", "Label", images, classes)
        choices = _control(root, "Choices", "Choice", images, classes)
        chosen = rectangles or choices
        if chosen is None:
            raise UserError(
                "the project's labelling interface has neither RectangleLabels nor Choices for an Image, expected one "
                "of them: wsl-export --format label-studio writes such an interface, labelling.xml"
            )
        found = cls(images[chosen.image], rectangles, choices if choices and choices.image == chosen.image else None)
        if not found.classes:
            offered = [str(tag.get("value")) for name in ("Label", "Choice") for tag in root.iter(name)]
            raise UserError(
                f"the model and the project share no label: the model knows {listed(list(classes))}, the project asks "
                f"for {listed(offered)}; rename the project's labels, or give them the model's names as aliases"
            )
        return found


def _control(
    root: Any, tag: str, inner: str, images: Mapping[str | None, str], classes: Sequence[str]
) -> Control | None:
    """The first control with this tag that belongs to an image."""
    for control in root.iter(tag):
        name, image = control.get("name"), control.get("toName")
        if name and image in images:
            labels = {}
            for label in control.iter(inner):
                value = label.get("value", "")
                for known in (value, label.get("alias", "")):
                    labels.update({one: label.get("alias") or value for one in _same(known, classes)})
            return Control(name, image, labels)
    return None


def _same(label: str, classes: Sequence[str]) -> list[str]:
    exact = [name for name in classes if name == label]
    return exact or [name for name in classes if label and name.casefold() == label.casefold()]
