"""Names that every file system takes, and files that are replaced as a whole."""

import errno
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
from wsl.files import LOCK, UniqueNames, check_folder, locked, remove_litter, replacing, whole, write_text

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


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), fsync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda old, new: (done.append("rename"), rename(old, new))[1])
    write_text(tmp_path / "a.txt", "whole")
    assert done == (["sync", "rename", "sync"] if sys.platform != "win32" else ["sync", "rename"])
    done.clear()
    with replacing(tmp_path / "b.png", durable=False) as temporary:
        temporary.write_bytes(b"picture")
    assert done == ["rename"]


def test_a_disk_that_fails_is_an_error_and_one_that_cannot_sync_is_not(tmp_path, monkeypatch):
    def failing(error):
        def fsync(_):
            raise OSError(error, os.strerror(error))

        return fsync

    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    write_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def left_by(pid: int, name: str = "a", suffix: str = ".txt", host: str | None = None) -> str:
    return f".{name}.wsl-{host or whole._host()}-{pid}{suffix}"


@pytest.mark.skipif(sys.platform == "win32", reason="nothing tells there whether a process still lives")
def test_what_killed_processes_left_is_removed_by_the_next_run(tmp_path):
    gone = 2**31 - 1
    litter = [left_by(gone), left_by(gone, "model", ".safetensors"), f"heatmaps/{left_by(gone, suffix='.png')}"]
    old = left_by(7, host="00000000")
    kept = [
        left_by(os.getpid()),
        left_by(7, "b", host="00000000"),
        ".hidden.txt",
        f".a.{gone}.txt",
        "a.wsl-00000000-1.txt",
        f"heatmaps/deeper/{left_by(gone)}",
    ]
    for name in (*litter, old, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    with locked(tmp_path, "wsl-localize"):
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, LOCK}


def test_a_folder_that_is_not_there_has_no_litter(tmp_path):
    remove_litter(tmp_path / "nowhere")
