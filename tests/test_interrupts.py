"""Signals that end a process come as exceptions, which commands turn into the exit code that a shell expects."""

import signal
import threading

import pytest

from wsl import cli
from wsl.cli.running import Outcome, run
from wsl.config import DataConfig
from wsl.interrupts import Stopped, deferred, stoppable

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_as_ctrl_c_does(number, tmp_path, capsys):
    tidied = []

    def work(settings):
        try:
            signal.raise_signal(number)
        finally:
            tidied.append(True)
        return Outcome("never", {})

    assert run(work, DataConfig, "", ["--data", str(tmp_path)]) == 128 + number
    assert tidied
    assert "stopped: what was finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flags"), [("demo", []), ("label_studio", ["--weights", "r", "--image-root", "."])]
)
def test_a_stopped_server_does_not_say_that_results_are_kept(command, flags, capsys, monkeypatch):
    def serve(config):
        raise KeyboardInterrupt

    server = {"demo": "wsl.page.server", "label_studio": "wsl.labelling.server"}[command]
    monkeypatch.setattr(f"{server}.serve", serve)
    assert getattr(cli, command)(flags) == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped), stoppable():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_changes_nothing():
    seen = []

    def work():
        with stoppable():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
def test_a_deferred_signal_waits_for_a_good_moment_and_a_second_one_does_not(number):
    before, seen = signal.getsignal(number), []

    def asked_twice():
        with stoppable(), deferred() as pending:
            signal.raise_signal(number)
            seen.append(pending.requested)
            signal.raise_signal(number)
            seen.append("never")

    with pytest.raises(KeyboardInterrupt) as ended:
        asked_twice()
    assert seen == [True]
    assert isinstance(ended.value, Stopped) == (number != signal.SIGINT)
    assert signal.getsignal(number) is before


def test_a_deferred_signal_that_nobody_asked_about_is_raised_at_the_end():
    with pytest.raises(Stopped), deferred():
        signal.raise_signal(signal.SIGTERM)


def test_patience_ends():
    """What never comes to a good moment ends without one."""

    def waiting():
        with deferred(patience=0.01) as pending:
            signal.raise_signal(signal.SIGTERM)
            while True:
                assert pending.requested

    with pytest.raises(Stopped):
        waiting()
