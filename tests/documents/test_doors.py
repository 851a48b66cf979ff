"""The doors for text, JSON, YAML and XML: what they refuse is one line that names the file."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.documents import flag, json_lines, load_xml, load_yaml, number, parse_json, read_text, text_lines
from wsl.errors import UserError

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
JSON = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=60)
def test_whatever_json_writes_comes_back(document):
    assert parse_json(json.dumps(document), "a.json", "values") == document


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[1", "not JSON"),
        (b"\xff", "not JSON"),
        ("NaN", "the number NaN is not finite"),
        ('{"a": [-Infinity]}', "-Infinity is not finite"),
        ("[1e999]", "1e999 is not finite"),
        ("[1" + "0" * 400 + ".0]", "is not finite"),
        ("[" + "9" * 23 + "]", "a whole number of 23 digits"),
        ("[" + "9" * 5000 + "]", "a whole number of 5000 digits"),
        ("[" * 100 + "]" * 100, "nested more than 64 levels deep"),
        ('[0, {"a": ' * 40 + "1" + "}]" * 40, "nested more than 64 levels deep"),
        ("[" * 100_000, "nested more than 64 levels deep"),
    ],
)
def test_json_beyond_the_limits_is_refused(text, reason):
    with pytest.raises(UserError, match=rf"a\.json: .*{reason}.*; expected values"):
        parse_json(text, "a.json", "values")


def test_64_levels_are_json():
    assert parse_json("[" * 64 + "]" * 64, "a.json", "values")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not YAML"),
        ("a: &x [1]\nb: *x", "it has aliases"),
        ("a: &a [*a]", "it has aliases"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 2024-99-99", "not YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x00", "not YAML"),
    ],
)
def test_yaml_beyond_the_limits_is_refused(text, reason, tmp_path):
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"data\.yaml: .*{reason}.*expected names"):
        load_yaml(tmp_path / "data.yaml", "names")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<a>" * 65 + "</a>" * 65, "nested more than 64 elements deep"),
        ("<a>", "not well-formed XML"),
        ('<?xml version="1.0" encoding="ebcdic-7"?><a/>', "not well-formed XML"),
        ("<html><body>404</body></html>", "its root is <html>, expected <a>"),
        ('<a xmlns="http://example.org"/>', "its root is <{http://example.org}a>"),
        ('<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>', "it declares XML entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "it declares XML entities"),
    ],
)
def test_xml_beyond_the_limits_is_refused(text, reason, tmp_path):
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"a\.xml: .*{reason}"):
        load_xml(tmp_path / "a.xml", "letters", "a")


def test_a_file_beyond_its_size_is_refused_before_it_is_parsed(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 3000)
    assert len(read_text(file, "words", 3000)) == 3000
    with pytest.raises(UserError, match=r"a\.txt: larger than 2 KiB, expected words: split it"):
        read_text(file, "words", 2999)


def test_lines_are_numbered_and_the_bad_one_is_named(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[2]\n\xff\n')
    lines = json_lines(file, "records")
    assert [next(lines), next(lines)] == [(1, {"a": 1}), (3, [2])]
    with pytest.raises(UserError, match=r"a\.jsonl:4: not UTF-8"):
        next(lines)


def test_a_line_without_end_is_refused(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate((64 << 20) + 2)
    with pytest.raises(UserError, match=r"a\.txt:1: a line of more than 64 MiB"):
        next(text_lines(tmp_path / "a.txt", "words"))


@pytest.mark.parametrize("value", ["x", None, True, [1], "nan", "inf", 10**400, "1_0", 1e30])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UserError, match=r"x of dog is .*, expected a number"):
        number(value, "x of dog")


@pytest.mark.parametrize("value", ["maybe", 2, [], {}, -1])
def test_what_is_neither_yes_nor_no_is_refused(value):
    with pytest.raises(UserError, match=r"difficult is .*, expected 0 or 1"):
        flag(value, "difficult")
