"""CAM methods by name."""

import inspect

import pytest

from wsl.cam.methods import METHODS, list_methods, parse_method
from wsl.config import CamConfig
from wsl.config.shared import CAM_METHODS
from wsl.errors import UserError


def test_the_command_line_knows_every_method_without_loading_torch():
    assert list(CAM_METHODS) == ["auto", *list_methods()]


@pytest.mark.parametrize("name", METHODS)
def test_a_name_is_told_from_its_arguments(name):
    found, method = parse_method(name)
    assert found == name
    assert method.reads == METHODS[name].reads
    assert CamConfig(cam=name).maps == name


def test_arguments_reach_the_function_or_its_targets():
    weigh, targets = parse_method("finercam(alpha=0.6, relu=false)")[1][:3:2]
    assert targets.keywords == {"alpha": 0.6}
    assert weigh.keywords == {"relu": False}
    assert "softmax" in inspect.signature(METHODS["scorecam"].weigh).parameters
    with pytest.raises(UserError, match="scorecam has no argument 'softmax'"):
        parse_method("scorecam(softmax=true)")


def test_misspelt_names_get_the_nearest():
    for make in (parse_method, lambda name: CamConfig(cam=name)):
        with pytest.raises(UserError, match="unknown CAM method 'gradcm': did you mean 'gradcam'"):
            make("gradcm")
        for name in ("Grad-CAM++", "GradCAMPlusPlus", "gradcam++"):
            with pytest.raises(UserError, match="did you mean 'gradcampp'"):
                make(name)
    with pytest.raises(UserError, match=r"the CAM method is 'gradcam\(1\)', expected a name, with arguments by name"):
        parse_method("gradcam(1)")
