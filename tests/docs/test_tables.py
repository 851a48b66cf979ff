"""The tables of the documentation say what the code knows, and every row of them has its prose."""

import importlib.util
import re
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("wsl_tests_tables", Path(__file__).parent / "tables.py")
tables = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tables)


def page_of(name):
    return (tables.ROOT / tables.TABLES[name].page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tables.TABLES)
def test_what_the_code_knows_stands_in_the_page(name):
    page = page_of(name)
    assert tables.written(name, page) == page, "run python tests/docs/tables.py"


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_row_has_its_prose(name):
    lines = [tables.cells(line) for line in tables.block(name).search(page_of(name))[2].split("\n") if line]
    known = len(tables.TABLES[name].headers)
    optional = [header == "paper" for header in lines[0]]
    assert not [row[0] for row in lines[2:] if len(row) != len(lines[0])]
    assert not [
        row[0] for row in lines[2:] for place in range(known, len(row)) if not row[place] and not optional[place]
    ]


def test_prose_stays_with_its_row_when_the_registry_changes(monkeypatch):
    page = "<!-- t: of x -->\n| name | of | when |\n| --- | --- | --- |\n| `b` | 1 | with a \\| b |\n<!-- /t -->\n"
    monkeypatch.setitem(tables.TABLES, "t", tables.Table("x", ("name", "of"), lambda: [("`a`", "2"), ("`b`", "3")]))
    text = tables.written("t", page)
    assert "| `a` | 2 | |" in text
    assert "| `b` | 3 | with a \\| b |" in text
    assert tables.written("t", text) == text


def test_a_page_without_the_place_is_told(monkeypatch):
    monkeypatch.setitem(tables.TABLES, "t", tables.Table("x.md", ("name",), list))
    with pytest.raises(SystemExit, match=re.escape("x.md has no place for t")):
        tables.written("t", "no table")
