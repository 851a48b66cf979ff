"""What is shown while something is loaded or counted."""

import io
import sys

import pytest

from wsl.progress import loading, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_loaded_and_then_nothing_of_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fail() -> None:
        with loading("resnet50 [1]"):
            assert sys.stderr.getvalue().endswith("loading resnet50 [1] …\r")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert sys.stderr.getvalue().endswith("\x1b[2K")
    assert "\n" not in sys.stderr.getvalue()


def test_nothing_is_shown_elsewhere(capsys):
    with loading("resnet50"):
        assert list(track("ab", "count", 2)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")
