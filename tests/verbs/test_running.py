"""What a command prints around its work."""

import logging

from wsl.cli.running import Outcome, run
from wsl.config import DataConfig

log = logging.getLogger("wsl")


def test_a_warning_is_printed_once_in_a_command_and_progress_each_time(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a process of its own

    def work(settings: DataConfig) -> Outcome:
        for _ in range(2):
            log.warning("2 images have no label")
            log.info("round")
        return Outcome("done", {})

    for command in (1, 2):
        assert run(work, DataConfig, "", ["--data", "photos"]) == 0
        out, err = capsys.readouterr()
        assert (out, err.splitlines()) == ("done\n", ["2 images have no label", "round", "round"]), command
