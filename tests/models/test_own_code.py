"""One's own classifier: built by a named function, filled from a file of tensors, imported only when it is named."""

import logging
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wsl.checkpoints import check_weights
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models import CamLocalizer, Localizer, open_model

CODE = """
import torch
from torch import nn

from wsl.config import Preprocessing


class Net(nn.Module):
    def __init__(self, flat=False):
        super().__init__()
        self.conv, self.flat = nn.Conv2d(3, 8, 3, stride=4), flat
        self.fc = nn.Linear(8 * 64 if flat else 8, 3)

    def forward(self, images):
        maps = self.conv(images).relu()
        return self.fc(maps.flatten(1) if self.flat else maps.mean((2, 3)))


def build():
    net = Net()
    net.classes = ["cat", "dog", "owl"]
    net.preprocessing = Preprocessing(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return net


def flat():
    net = Net(flat=True)
    net.classes, net.preprocessing = ("cat", "dog", "owl"), {"image_size": 32, "mean": [0, 0, 0]}
    return net


def bare():
    return Net()


def silent():
    return Net(flat=True)


def numbered():
    net = Net()
    net.classes, net.preprocessing = 3, nn.Identity()
    return net


def misspelt():
    net = build()
    net.preprocessing = {"size": 32}
    return net


def words():
    return "a network"


def failing():
    raise OSError("no disk\\nat all")


def needing(size):
    return Net()


weights = 3
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The current folder, which holds the package, with the weights of `build` as own.pt; gives the package's name."""
    name = f"own_{tmp_path.name}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    torch.save(weights(), "own.pt")
    yield f"{name}.nets"
    for module in (name, f"{name}.nets"):
        sys.modules.pop(module, None)


def weights(inputs=8):
    torch.manual_seed(0)
    conv, fc = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(inputs, 3)
    parts = {"conv": conv, "fc": fc}
    return {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.state_dict().items()}


def expected(images, inputs=8):
    state = weights(inputs)
    maps = torch.nn.functional.conv2d(images, state["conv.weight"], state["conv.bias"], stride=4).relu()
    features = maps.mean((2, 3)) if inputs == 8 else maps.flatten(1)
    return features @ state["fc.weight"].T + state["fc.bias"]


def test_a_network_with_class_maps_of_its_own(code):
    model = open_model("own.pt", model=f"{code}:build")
    assert isinstance(model, Localizer)
    assert not model.training
    assert model.classes == ("cat", "dog", "owl")
    assert model.preprocessing == Preprocessing(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    images = torch.randn(2, 3, 32, 32)
    scores, maps = model(images)
    torch.testing.assert_close(scores, expected(images), atol=1e-4, rtol=0)
    torch.testing.assert_close(maps.mean((2, 3)), scores, atol=1e-4, rtol=0)


def test_a_network_of_another_form_and_a_method_by_name(code):
    torch.save(weights(8 * 64), "flat.pth")
    images = torch.randn(2, 3, 32, 32)
    model = open_model("flat.pth", model=f"{code}:flat")
    assert isinstance(model, CamLocalizer)
    assert model.method == "layercam"
    assert model.preprocessing == Preprocessing(image_size=32, mean=(0, 0, 0))
    torch.testing.assert_close(model(images).scores, expected(images, 8 * 64), atol=1e-4, rtol=0)
    model = open_model("flat.pth", model=f"{code}:flat", method="gradcam", layers=["conv"])
    assert (model.method, model.layers) == ("gradcam", ("conv",))


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "_orig_mod."])
def test_files_as_people_have_them(code, prefix):
    state = {prefix + key: tensor for key, tensor in weights().items()}
    torch.save({"epoch": 3, "state_dict": state}, "wrapped.pth")
    save_file(state, "plain.safetensors")
    images = torch.randn(1, 3, 32, 32)
    for file in ("wrapped.pth", "plain.safetensors"):
        found = open_model(file, model=f"{code}:build")(images).scores
        torch.testing.assert_close(found, expected(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("function", ["bare", "numbered"])
def test_what_the_module_does_not_say_is_the_default_and_told(code, caplog, function):
    with caplog.at_level(logging.WARNING, "wsl"):
        model = open_model("own.pt", model=f"{code}:{function}")
    assert model.classes == ("class 0", "class 1", "class 2")
    assert model.preprocessing == Preprocessing()
    assert "class 0, class 1" in caplog.text
    assert "taking 224 pixels and ImageNet's mean and std" in caplog.text


def test_a_module_that_says_all_needs_no_line(code, caplog):
    with caplog.at_level(logging.WARNING, "wsl"):
        open_model("own.pt", model=f"{code}:build")
    assert caplog.text == ""


def refused(match, weights, model, **options):
    with pytest.raises(UserError, match=match) as caught:
        open_model(weights, model=model, **options)
    assert "\n" not in str(caught.value)


def test_wrong_names_are_one_line(code):
    refused("no module 'no_such_package' for no_such_package.nets:build", "own.pt", "no_such_package.nets:build")
    package = code.partition(".")[0]
    refused(rf"no module '{package}\.net' ", "own.pt", f"{package}.net:build")
    refused(r"nets\.py\) has no 'biuld': did you mean 'build'\?", "own.pt", f"{code}:biuld")
    refused(":weights is a int, expected a function", "own.pt", f"{code}:weights")
    refused("expected the module and the function that builds it", "own.pt", "nets.py")


def test_code_that_fails_is_one_line(code, tmp_path):
    refused(r"failing failed \(OSError: no disk\)", "own.pt", f"{code}:failing")
    refused(r"needing failed \(TypeError: .*'size'\): .* without arguments", "own.pt", f"{code}:needing")
    refused(r"words gives a str, expected a torch\.nn\.Module", "own.pt", f"{code}:words")
    refused("the preprocessing of .*:misspelt cannot be read: .*size", "own.pt", f"{code}:misspelt")
    folder = tmp_path / code.partition(".")[0]
    (folder / "broken.py").write_text("import no_such_library")
    (folder / "syntax.py").write_text("def build(:")
    package = folder.name
    refused(r"broken could not be imported \(ModuleNotFoundError: .*no_such_library", "own.pt", f"{package}.broken:b")
    refused(r"syntax could not be imported \(SyntaxError", "own.pt", f"{package}.syntax:b")


def test_weights_that_do_not_fit_are_one_line(code):
    state = weights()
    torch.save({key: tensor for key, tensor in state.items() if key != "fc.bias"}, "less.pth")
    torch.save({**state, "more": torch.zeros(1)}, "more.pth")
    torch.save({**state, "fc.weight": torch.zeros(5, 8), "fc.bias": torch.zeros(5)}, "other.pth")
    refused(r"less\.pth does not fit .*:build: fc\.bias is missing", "less.pth", f"{code}:build")
    refused(r"more\.pth does not fit .*:build: more is not part of it", "more.pth", f"{code}:build")
    refused(r"fc\.weight is \(5, 8\), expected \(3, 8\)", "other.pth", f"{code}:build")
    torch.save(nn.Linear(2, 2), "pickled.pt")
    refused("carries pickled code", "pickled.pt", f"{code}:build")


def test_a_network_of_another_image_size_is_one_line(code):
    torch.save(weights(8 * 64), "flat.pth")
    refused(r"Net does not take images \(N, 3, 224, 224\).*as preprocessing", "flat.pth", f"{code}:silent")


def test_what_goes_with_a_model_is_checked_before_it_is_imported(code, tmp_path):
    assert check_weights("own.pt", None, f"{code}:build") is None
    refused("expected the file of its tensors, .safetensors", "resnet50", f"{code}:build")
    refused(r"no weights file at lost\.pt", "lost.pt", f"{code}:build")
    refused("as --weights", "own.pt", f"{code}:build", local_weights=tmp_path / "own.pt")
    assert code not in sys.modules


def test_code_of_the_current_folder_comes_first_and_only_when_named(code):
    open_model("own.pt", model=f"{code}:build")
    assert sys.path[0] == str(sys.modules[code].__file__).removesuffix(f"/{code.replace('.', '/')}.py")
