"""Names that every file system takes, and files that are replaced as a whole."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.files import UniqueNames, replacing, write_text

DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{i}" for port in ("COM", "LPT") for i in "0123456789¹²³"),
}
awkward = st.one_of(
    st.text(max_size=6),
    st.text(st.sampled_from("aAé\u0301ßS ./\\:*\ud800\udce9犬~2\n"), max_size=12),
    st.sampled_from(sorted(DEVICES)).flatmap(
        lambda name: st.sampled_from([name, name.lower(), f"{name}.txt", f"{name} "])
    ),
    st.sampled_from(["犬" * 90, "犬" * 91, "a" * 300, "a" * 301, "CON" + " " * 300 + "x", ".." * 200, "\u0301" * 200]),
)


@given(texts=st.lists(awkward, max_size=12), max_bytes=st.sampled_from([20, 200]))
def test_names_are_legal_apart_and_the_same_every_time(texts, max_bytes):
    names = UniqueNames(max_bytes)
    made = [names(text) for text in texts]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in made}) == len(made)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in made}) == len(made)
    for name in made:
        assert 0 < len(name.encode("utf-8")) <= max_bytes
        assert not any(character < " " or character in '<>:"/\\|?*' for character in name)
        assert name[-1] not in ". "
        assert name.split(".")[0].rstrip().upper() not in DEVICES
    again = UniqueNames(max_bytes)
    assert [again(text) for text in texts] == made


@pytest.mark.parametrize("text", ["a", "2007_000033", "n01440764-dog", "camA 1", "犬.2", "~2"])
def test_an_ordinary_name_stays(text):
    assert UniqueNames()(text) == text


def test_one_text_many_times():
    names = UniqueNames()
    assert [names("a") for _ in range(3)] == ["a", "a~2", "a~3"]
    assert [names(text) for text in ("a~2", "A", "b")] == ["a~2~2", "A~4", "b"]


@pytest.mark.parametrize("name", ["犬" * 82 + ".png", "a" * 255, "犬." + "犬" * 83])
def test_a_file_of_the_longest_name_is_replaced(tmp_path, name):
    for text in ("old", "new"):
        write_text(tmp_path / name, text)
    assert (tmp_path / name).read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_error_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def fail():
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1
