"""Images of Label Studio's tasks are measured inside their folders only."""

from pathlib import Path

import pytest

from wsl.formats.exchange.label_studio import measured_in


@pytest.mark.parametrize("outside", ["../secret.jpg", "a/../../secret.jpg", "..\\secret.jpg"])
def test_no_file_outside_the_folders_is_opened(tmp_path: Path, outside: str) -> None:
    opened: list[Path] = []

    def sizes(path: Path) -> tuple[int, int]:
        opened.append(path)
        return 8, 6

    (tmp_path / "images" / "a").mkdir(parents=True)
    for file in (tmp_path / "secret.jpg", tmp_path / "images" / "a.jpg"):
        file.write_bytes(b"")
    measure = measured_in([tmp_path / "images"], sizes)
    assert measure(outside) is None
    assert measure(str(tmp_path / "secret.jpg")) is None
    assert measure("a.jpg") == (8, 6)
    assert opened == [tmp_path / "images" / "a.jpg"]
