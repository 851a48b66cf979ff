"""The API reference: names that rooms promise are there, and llms.txt lists what exists."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import heads
import wsl

_SPEC = importlib.util.spec_from_file_location("wsl_tests_reference_pages", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)
ROOMS = [
    found.name
    for package in (heads, wsl)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.ispkg and found.name != "wsl.page"  # which loads gradio
]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_that_a_room_promises_is_there(room):
    module = importlib.import_module(room)
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


def test_llms_txt_lists_pages_and_modules():
    modules = [importlib.import_module(name) for name in ("heads", "wsl", "wsl.boxes", "wsl.metrics.pointing")]
    pages = reference.guide_pages()
    text = reference.llms_txt(modules, pages)
    assert text.startswith("# wsl-toolkit\n\n> Weakly-supervised localization")
    assert "- [wsl.boxes](wsl/boxes.html): Labelled boxes, and the box convention stated once." in text
    assert "- [Troubleshooting](wsl/TROUBLESHOOTING.md)" in text
    listed = re.findall(r"\]\((\S+\.md)\)", text)
    assert listed[0] == "README.md"
    assert all((reference.ROOT / page).is_file() for page in listed)


def test_what_nobody_calls_is_left_out():
    private = ["heads._checks", "heads.kernels.cpu_rows", "wsl.maps.kernels", "wsl.cli.flags"]
    assert all(reference._PRIVATE.search(name) for name in private)
    assert not any(
        reference._PRIVATE.search(name) for name in ("heads.pooling.gap", "wsl.inference", "wsl.verbs.train")
    )


def test_pdoc_shows_shapes_errors_and_examples(tmp_path):
    pdoc = pytest.importorskip("pdoc", reason="pdoc is not installed: make docs")
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("wsl.boxes", output_directory=tmp_path)
    text = (tmp_path / "wsl" / "boxes.html").read_text(encoding="utf-8")
    assert re.search(r"<h6[^>]*>Shape:</h6>", text)
    assert "<strong>UserError:</strong>" in text
    assert 'class="gp"' in text  # a prompt of an example
