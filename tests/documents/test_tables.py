"""Tables of delimited text, as spreadsheets and data sets write them."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.documents.tables import table_header, table_rows
from wsl.errors import UserError


@pytest.fixture
def table(tmp_path):
    def write(text):
        file = tmp_path / "a.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_write(table, mark, end, delimiter):
    rows = [["path", " labels"], ["a, b.jpg", '"dog; black\tand white"'], ["", ""], ["c.jpg", ""]]
    text = end.join(
        delimiter.join(f'"{cell}"' if delimiter in cell and '"' not in cell else cell for cell in row) for row in rows
    )
    found = list(table_rows(table(mark + text + end), "a table"))
    assert [row.cells for row in found] == [
        {"path": "a, b.jpg", "labels": "dog; black\tand white"},
        {"path": "c.jpg", "labels": ""},
    ]
    assert [row.line for row in found] == [2, 4]


def test_columns_without_a_name_at_the_end(table):
    file = table("a,b,,\n1,2,,\n")
    assert table_header(file, "a table") == ("a", "b")
    assert [row.cells for row in table_rows(file, "a table")] == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is empty"),
        ("\n\na,b\n", "the first line is empty"),
        ("a,b\n1\n", "line 2 has 1 cells, expected 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 cells, expected 2"),
        ("a,a\n1,2\n", "names the column 'a' twice"),
        ("a,,c\n1,2,3\n", "a column of the header has no name"),
        ("b,c\n1,2\n", "no column 'a' in the header 'b,c'"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b"a,b\n\xff,1\n", "not UTF-8"),
    ],
)
def test_a_malformed_table_says_where(table, text, message):
    with pytest.raises(UserError, match=message):
        list(
            table_rows(
                table(text),
                "a table",
                *(["a"] if b"b,c" in (text if isinstance(text, bytes) else text.encode()) else []),
            )
        )


cells = st.text(alphabet='ab,;"é \n', max_size=4).map(str.strip)


@settings(max_examples=50)
@given(st.lists(st.tuples(cells, cells).filter(any), min_size=1, max_size=3), st.sampled_from(",;\t"))
def test_whatever_the_csv_module_writes_comes_back(tmp_path_factory, rows, delimiter):
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerows([("left", "right"), *rows])
    assert [tuple(row.cells.values()) for row in table_rows(file, "a table")] == rows
