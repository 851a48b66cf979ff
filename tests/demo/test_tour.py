"""The notebook: stripped in the repository, and every cell runs in order, as a reader would run them."""

import ast
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'wsl-toolkit[demo]'")
NOTEBOOK = Path(__file__).parents[2] / "demo" / "tour.ipynb"
SIZE = "IMAGES, EPOCHS = 300, 8"


def cells():
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["metadata"]["language_info"]) == (4, {"name": "python"})
    return document["cells"]


def run_cells(**replaced):
    """Run the cells as a notebook does; the names they leave, and what each cell's last line would display."""
    names, shown = {}, []
    for cell in cells():
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        for before, after in replaced.items():
            source = source.replace(before, after)
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names))
    return names, shown


def test_the_repository_keeps_no_outputs():
    for cell in cells():
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_every_cell_runs_in_little(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert any(SIZE in "".join(cell["source"]) for cell in cells())
    names, shown = run_cells(**{SIZE: "IMAGES, EPOCHS = 24, 1"})
    assert (tmp_path / "out" / "tour" / "doctor" / "thresholds.png").is_file()
    assert "<img" in shown[-1]._repr_html_()
    assert names["found"].size == (96, 96)
    assert "baseline" in capsys.readouterr().out


@pytest.mark.long
def test_the_digits_are_found(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    names, _ = run_cells()
    figures = {metric.name: metric.value for metric in names["report"].metrics}
    assert figures["mAP"] > 0.9
    assert figures["pointing"] > 0.9
    assert figures["CorLoc"] > 0.25


@pytest.mark.long
def test_a_kernel_runs_it(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install nbclient ipykernel")
    nbformat = sys.modules["nbformat"]
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    html = [output["data"].get("text/html", "") for output in notebook.cells[-1].outputs if "data" in output]
    assert "<img" in html[-1]
