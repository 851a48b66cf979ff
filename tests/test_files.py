"""Names that every file system takes, and files that are replaced as a whole."""

import os
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.files import UniqueNames, check_folder, replacing, write_text

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


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request):
    """Of the process, for the length of a test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
def test_files_have_the_permissions_of_the_umask_whatever_their_writer_left(tmp_path, umask):
    write_text(tmp_path / "a.txt", "text")
    with replacing(tmp_path / "b.txt") as temporary:
        handle, private = tempfile.mkstemp(dir=tmp_path)  # as safetensors writes: a private file, renamed
        os.close(handle)
        Path(private).replace(temporary)
    (tmp_path / "plain.txt").touch()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("a.txt", "b.txt", "plain.txt"), 0o666 & ~umask)
    assert os.umask(umask) == umask


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    check_folder(tmp_path / "new" / "folder", "the results")
    for place in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(UserError, match="file is a file: expected a folder for the results"):
            check_folder(place, "the results")
