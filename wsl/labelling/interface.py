"""What a project of Label Studio asks for: its labelling interface, as far as a localizer can answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsl.documents import parse_xml
from wsl.errors import UserError, listed

_EXPECTED = "a labelling interface of Label Studio"


@dataclass(frozen=True, slots=True)
class Control:
    """A control of the interface: its name, that of the image it belongs to, and the label of each class.

    >>> Control("label", "image", {"dog": "Dog"}).labels["dog"]
    'Dog'
    """

    name: str
    image: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Interface:
    """The control for rectangles, the one for choices of the whole image, and the field of a task with its image.

    Classes of the model meet labels of the interface by their value or alias, whatever the case.
    """

    field: str
    rectangles: Control | None
    choices: Control | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the model that the interface asks for."""
        controls = [control for control in (self.rectangles, self.choices) if control is not None]
        return tuple(dict.fromkeys(name for control in controls for name in control.labels))

    @classmethod
    def read(cls, xml: str, classes: Sequence[str]) -> Interface:
        """The interface from its XML, for a model of some classes.

        Raises:
            UserError: it is not well-formed, asks for nothing of images that can be answered, or shares no label with
                the model.

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
                "the project's labelling interface has neither RectangleLabels nor Choices of an Image, expected one "
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
    """The first control of a kind that belongs to an image."""
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
