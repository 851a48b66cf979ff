"""One run at a time writes into a folder."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wsl.errors import UserError
from wsl.files import LOCK, locked

HOLDER = """
import sys
from pathlib import Path
from wsl.files import locked
with locked(Path(sys.argv[1]), "wsl-localize"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of ``tmp_path / "out"`` until it reads a line."""
    with holding(tmp_path / "out") as process:
        yield process
        process.kill()


def holding(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_ends(holder, tmp_path):
    out = tmp_path / "out"
    before = (out / LOCK).read_bytes()
    told = rf"^{out} is being written to by .* \(wsl-localize\) since 2.* \(host .*, process {holder.pid}\): wait until"
    with pytest.raises(UserError, match=told) as raised, locked(out, "wsl-export"):
        pytest.fail("both hold it")
    assert f"remove {out / LOCK}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (out / LOCK).read_bytes() == before
    holder.communicate("\n")
    assert not out.exists()
    with locked(out, "wsl-export"):
        assert json.loads((out / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing tells there whether a process lives")
def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path, caplog):
    out = tmp_path / "out"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (out / LOCK).exists()
    caplog.set_level("INFO", logger="wsl")
    with locked(out, "wsl-export"):
        assert json.loads((out / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert caplog.messages == [f"{out}: took over the lock of process {holder.pid}, which no longer exists"]
    assert not (out / LOCK).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing tells there whether a process lives")
def test_a_killed_process_may_have_had_our_number(tmp_path):
    left = {"who": "a", "since": "b", "host": platform.node(), "pid": os.getpid(), "thread": 1}
    (tmp_path / LOCK).write_text(json.dumps(left), encoding="utf-8")
    with locked(tmp_path, "wsl-export"):
        pass
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"who": "eve\n(x)", "since": "now", "host": "another host", "pid": 1 << 21}),
        json.dumps({"host": platform.node(), "pid": 1 << 80}),
        json.dumps({"host": platform.node(), "pid": -1}),
        json.dumps({"host": platform.node(), "pid": True}),
        "",
        "[]",
        "[" * 100_000,
    ],
)
def test_a_lock_that_cannot_be_judged_is_respected(text, tmp_path):
    (tmp_path / LOCK).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="if it no longer exists, remove") as raised, locked(tmp_path, "wsl-export"):
        pytest.fail("it is held")
    assert "\n" not in str(raised.value)
    assert (tmp_path / LOCK).read_text(encoding="utf-8") == text


def test_windows_takes_no_lock_over(tmp_path, monkeypatch):
    (tmp_path / LOCK).write_text(json.dumps({"host": platform.node(), "pid": 1 << 21}), encoding="utf-8")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("this ends a process on Windows"))
    with pytest.raises(UserError, match="remove"), locked(tmp_path, "wsl-export"):
        pytest.fail("it is held")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_gives_the_lock_back(error, tmp_path):
    with pytest.raises(error), locked(tmp_path / "a" / "b", "wsl-export"):
        raise error
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from wsl.files import locked
number, seen = int(sys.argv[2]), 0
def see(event, args):
    global seen
    if event in ("open", "os.link", "os.remove"):
        seen += 1
        if seen == number:
            os.kill(os.getpid(), 9)
with locked(Path(sys.argv[1]), "warm"):
    pass
sys.addaudithook(see)
with locked(Path(sys.argv[1]), "wsl-localize"):
    print("held")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing tells there whether a process lives")
def test_a_process_killed_while_it_takes_the_lock_locks_nobody_out(tmp_path):
    ended = []
    for number in range(1, 6):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(number)]
        ended.append(subprocess.run(command, check=False, capture_output=True).returncode)
        with locked(tmp_path, "wsl-export"):
            pass
        assert list(tmp_path.iterdir()) == []
    assert ended[:3] == [-9] * 3


def test_a_file_system_without_hard_links_has_locks_too(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unable)
    with locked(tmp_path, "wsl-export"):
        assert json.loads((tmp_path / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_full_disk_leaves_no_lock(links, tmp_path, monkeypatch):
    def full(descriptor, mode):
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    def unable(*_):
        raise OSError(1, "Operation not permitted")

    def full_file(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    if links:
        monkeypatch.setattr(Path, "write_bytes", full_file)
    else:
        monkeypatch.setattr(os, "link", unable)
        monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"), locked(tmp_path / "out", "wsl-export"):
        pytest.fail("nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path):
    with locked(tmp_path / "a" / "b", "wsl-export"):
        (tmp_path / "a" / "b" / "c.txt").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "c.txt"]


def test_one_thread_may_lock_twice_and_another_may_not(tmp_path):
    refused = []

    def other():
        try:
            with locked(tmp_path, "wsl-export"):
                pass
        except UserError as error:
            refused.append(str(error))

    with locked(tmp_path, "wsl-evaluate"):
        with locked(tmp_path / "x" / "..", "wsl-localize"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (tmp_path / LOCK).exists()
    assert len(refused) == 1
    assert not (tmp_path / LOCK).exists()


def test_folders_do_not_wait_for_each_other(holder, tmp_path):
    with locked(tmp_path / "other", "wsl-export"), locked(tmp_path, "wsl-export"):
        assert holder.poll() is None
