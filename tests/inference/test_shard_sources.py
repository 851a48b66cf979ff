"""A manifest is made of whatever names images, once, in one order, and says so when it cannot."""

import os
import tarfile
from pathlib import Path

import pytest

from wsl.config import LocalizeConfig, ShardConfig
from wsl.errors import UserError
from wsl.formats.shards.manifest import MANIFEST, Manifest, write_manifest
from wsl.formats.shards.storage import Storage
from wsl.images.rows import ImageRow
from wsl.inference.shards.job import make_manifest
from wsl.inference.shards.sources import image_rows

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path):
    """Files by name alone: no image is opened for a manifest."""
    root = tmp_path / "photos"
    for name in ("b/2.jpg", "b/10.PNG", "a.jpeg", "c.txt.jpg", ".hidden.jpg", "@eaDir/a.jpg", "notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def config(*sources, **options):
    sharding = ShardConfig(engine="local", shard_size=2)
    return LocalizeConfig(sources=tuple(map(str, sources)), weights="w", out="found", sharding=sharding, **options)


def rows(*sources):
    return list(image_rows(config(*sources)))


def names(*sources):
    return [Path(row.path).name for row in rows(*sources)]


def test_folders_files_and_globs(folder):
    assert names(folder) == ["a.jpeg", "c.txt.jpg", "10.PNG", "2.jpg"]
    assert names(folder / "*.j*") == ["a.jpeg", "c.txt.jpg"]
    assert names(folder / "b" / "2.jpg") == ["2.jpg"]
    assert rows(folder / "a.jpeg") == [ImageRow((folder / "a.jpeg").as_posix(), "a")]


def test_an_image_that_two_sources_name_comes_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names("b/2.jpg", "b", folder / "b" / "*.PNG", "./b/2.jpg") == ["2.jpg", "10.PNG"]


def test_lists_are_relative_to_their_folder_and_may_hold_addresses(folder):
    (folder / "list.txt").write_text("\ufeffa.jpeg\r\n\n b/2.jpg \ns3://bucket/x.jpg\n", encoding="utf-8")
    assert [row.path for row in rows(folder / "list.txt")] == [
        (folder / "a.jpeg").as_posix(),
        (folder / "b/2.jpg").as_posix(),
        "s3://bucket/x.jpg",
    ]
    (folder / "list.csv").write_text('id,url\n"x, y",https://host/q.jpg?size=2\n,b/2.jpg\n', encoding="utf-8")
    assert [(row.path.rpartition("/")[2], row.id) for row in rows(folder / "list.csv")] == [
        ("q.jpg?size=2", "x, y"),
        ("2.jpg", "2"),
    ]


def test_tables_of_parquet_with_labels(folder):
    import pyarrow.parquet as pq

    table = pa.table(
        {"id": ["one", None], "path": ["a.jpeg", "b/2.jpg"], "labels": [["cat", "dog"], None], "more": [1, 2]}
    )
    pq.write_table(table, folder / "table.parquet")
    assert [(row.id, row.labels) for row in rows(folder / "table.parquet")] == [("one", ("cat", "dog")), ("2", None)]
    pq.write_table(table.drop_columns(["path"]), folder / "table.parquet")
    with pytest.raises(UserError, match=r"table\.parquet: has the columns id, labels, more, expected path or url"):
        rows(folder / "table.parquet")


def test_tars_are_indexed_by_their_headers(folder, tmp_path):
    (folder / "a.jpeg").write_bytes(b"picture")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, "deep")
    found = {Path(row.path).name: row for row in rows(tmp_path / "x.tar")}
    assert set(found) == {"a.jpeg", "c.txt.jpg", "10.PNG", "2.jpg"}
    row = found["a.jpeg"]
    assert (tmp_path / "x.tar").read_bytes()[row.offset : row.offset + row.size] == b"picture"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "file\na.jpg\n", r"list\.csv: has the columns file, expected path or url"),
        ("list.csv", "path,id\n,x\n", r"list\.csv:2: has no path"),
        ("list.txt", b"\xff\xfe", r"list\.txt: cannot be read"),
        ("list.parquet", "text", r"list\.parquet: not readable as Parquet"),
        ("x.tar", "text" * 300, r"x\.tar: ends early, or is not a tar"),
        ("empty", None, "empty: no image in it"),
    ],
)
def test_sources_that_are_not(tmp_path, name, content, message):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.txt", "nowhere.csv", "nowhere.parquet", "nowhere.tar"])
def test_sources_that_are_not_there(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: (no such file|not readable|cannot be read \(No such file)"):
        rows(tmp_path / name)


def test_a_manifest_is_read_by_shard_and_has_one_identity(tmp_path):
    listed = [ImageRow(f"{n}.jpg", str(n), ("cat",) if n else None, "x.tar", n, 2 * n) for n in range(5)]
    for name, size in (("one", 2), ("two", 5)):
        (tmp_path / name).mkdir()
        write_manifest(iter(listed), tmp_path / name / MANIFEST, shard_size=size, made_from={})
    one, two = (Manifest.read(Storage(tmp_path / name)) for name in ("one", "two"))
    assert (one.shards, one.rows, [one.size(shard) for shard in range(3)]) == (3, 5, [2, 2, 1])
    assert [row for shard in range(3) for row in one.shard(shard)] == listed == two.shard(0)
    assert one.sha256 != two.sha256  # the parts of the one are not those of the other
    write_manifest(listed, tmp_path / "two" / MANIFEST, shard_size=2, made_from={"sources": ["elsewhere"]})
    assert Manifest.read(Storage(tmp_path / "two")).sha256 == one.sha256
    write_manifest(listed[1:], tmp_path / "two" / MANIFEST, shard_size=2, made_from={})
    assert Manifest.read(Storage(tmp_path / "two")).sha256 != one.sha256


def test_a_manifest_is_made_once(folder, tmp_path):
    storage = Storage(tmp_path / "out")
    made = make_manifest(config(folder), storage)
    assert (made.shards, made.rows, made.made_from) == (2, 4, {"sources": [str(folder)]})
    (folder / "later.jpg").touch()
    assert make_manifest(config(folder), storage).rows == 4
    assert make_manifest(config(), storage).rows == 4
    with pytest.raises(UserError, match=r"lists other images: made from .*photos.*, and this run names .*other"):
        make_manifest(config("other"), storage)
    with pytest.raises(UserError, match="no such manifest"):
        make_manifest(config(), Storage(tmp_path / "new"))


def test_who_comes_second_takes_the_manifest_of_the_first(folder, tmp_path, monkeypatch):
    """Tasks of an array that start at once all list the images, and one list counts."""
    storage = Storage(tmp_path / "out")

    def overtaken(listed, file, **options):
        monkeypatch.undo()
        first = make_manifest(config(folder), storage)
        write_manifest(listed, file, **{**options, "shard_size": 1})
        assert first.shards == 2

    monkeypatch.setattr("wsl.inference.shards.job.write_manifest", overtaken)
    assert make_manifest(config(folder), storage).shards == 2
    assert storage.names() == {MANIFEST}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_a_name_that_is_not_unicode_is_refused_in_a_line(folder, tmp_path):
    try:
        os.close(os.open(os.fsencode(folder) + b"/caf\xe9.jpg", os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes Unicode only")
    with pytest.raises(UserError, match=r"'.*caf\\udce9\.jpg' is not UTF-8"):
        make_manifest(config(folder), Storage(tmp_path / "out"))


def test_tables_of_images_as_spreadsheets_write_them(tmp_path):
    """Semicolons, a byte order mark, and a quoted cell."""
    (tmp_path / "list.csv").write_text('id;path\r\n7;"a;b.jpg"\r\n', encoding="utf-8-sig", newline="")
    (row,) = image_rows(config(str(tmp_path / "list.csv")))
    assert (row.id, row.path) == ("7", (tmp_path / "a;b.jpg").as_posix())
