"""Images over HTTP, of a server on loopback."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wsl.errors import BadImageError
from wsl.formats.shards.fetch import Fetcher, UnfetchedError
from wsl.formats.shards.storage import address_of, is_remote
from wsl.images.rows import ImageRow

pytest.importorskip("pyarrow")


@pytest.fixture
def web():
    """An address, and the requests that were made: /flaky fails twice, /broken always, /gone is not there."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            failing = self.path == "/broken" or (self.path == "/flaky" and requests.count("/flaky") < 3)
            status = 500 if failing else 404 if self.path == "/gone" else 200
            span = self.headers.get("Range")
            body = b"0123456789" if status == 200 else b""
            if span:
                first, last = map(int, span.removeprefix("bytes=").split("-"))
                status, body = 206, body[first : last + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


def test_bytes_ranges_and_second_attempts(web):
    address, requests = web
    fetch = Fetcher(seconds=60)
    assert fetch(ImageRow(f"{address}/a.jpg", "a")) == b"0123456789"
    assert fetch(ImageRow("x.tar/a.jpg", "a", file=f"{address}/x.tar", offset=2, size=3)) == b"234"
    assert fetch(ImageRow(f"{address}/flaky", "a")) == b"0123456789"
    assert requests.count("/flaky") == 3


def test_what_cannot_be_had_says_why(web):
    address, requests = web
    fetch = Fetcher(seconds=60)
    with pytest.raises(UnfetchedError, match=r"/gone: the server answers 404 Not Found"):
        fetch(ImageRow(f"{address}/gone", "a"))
    with pytest.raises(UnfetchedError, match=r"/broken: cannot be fetched \(HTTPError: HTTP Error 500"):
        fetch(ImageRow(f"{address}/broken", "a"))
    assert (requests.count("/gone"), requests.count("/broken")) == (1, 3)
    with pytest.raises(BadImageError, match=r"x\.tar ends early, expected 9 bytes from offset 5"):
        fetch(ImageRow("x.tar/a.jpg", "a", file=f"{address}/x.tar", offset=5, size=9))


@pytest.mark.parametrize(
    ("place", "address", "remote"),
    [
        ("s3:/bucket/a b", "s3://bucket/a b", True),
        ("gs://bucket", "gs://bucket", True),
        ("https:/host/a.jpg?x=1", "https://host/a.jpg?x=1", True),
        ("file:/data/a", "file:///data/a", False),
        ("C:/photos", "C:/photos", False),
        ("photos/s3:/a", "photos/s3:/a", False),
    ],
)
def test_addresses_that_were_paths_meanwhile(place, address, remote):
    assert (address_of(place), is_remote(place)) == (address, remote)
