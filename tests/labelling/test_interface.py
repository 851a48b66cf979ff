"""What is understood of a project's labelling interface."""

import pytest

from wsl.errors import UserError
from wsl.labelling.interface import Interface

CLASSES = ["cat", "dog", "Dog", "traffic light"]


def view(*parts):
    return f'<View><Image name="img" value="$image"/>{"".join(parts)}</View>'


def rectangles(*labels, image="img"):
    return f'<RectangleLabels name="box" toName="{image}">{"".join(labels)}</RectangleLabels>'


def test_labels_meet_classes_by_value_or_alias_and_exactly_before_any_case():
    labels = ('<Label value="CAT"/>', '<Label value="dog"/>', '<Label value="Ampel" alias="traffic light"/>')
    found = Interface.read(view(rectangles(*labels)), CLASSES)
    assert found.rectangles.labels == {"cat": "CAT", "dog": "dog", "traffic light": "traffic light"}
    assert found.classes == ("cat", "dog", "traffic light")
    assert (found.field, found.choices) == ("image", None)


def test_choices_stand_beside_rectangles_or_alone():
    choices = '<Choices name="what" toName="img" choice="multiple"><Choice value="cat"/></Choices>'
    both = Interface.read(view(rectangles('<Label value="dog"/>'), choices), CLASSES)
    assert both.classes == ("dog", "cat")
    alone = Interface.read(view(choices), CLASSES)
    assert alone.rectangles is None
    assert alone.choices.labels == {"cat": "cat"}


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<View>", "the project's labelling interface: not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "declares XML entities"),
        ("<View></View>", "neither RectangleLabels nor Choices for an Image"),
        (view(rectangles('<Label value="cat"/>', image="other")), "neither RectangleLabels nor Choices for an Image"),
        (view(rectangles('<Label value="emu"/>')), "share no label: the model knows cat, dog, .* asks for emu"),
    ],
)
def test_an_interface_that_cannot_be_answered_is_told(xml, message):
    with pytest.raises(UserError, match=message):
        Interface.read(xml, CLASSES)
