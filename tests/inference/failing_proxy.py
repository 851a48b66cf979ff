"""A loopback HTTP proxy in front of an S3 server, which lets every tenth request fail while it is switched on."""

import contextlib
import http.client
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FailingProxy:
    """Forwards requests to a server at ``127.0.0.1:port``.

    While `mode` is set, every tenth (`every`) request of each operation fails: "slow-down" answers 503 SlowDown, "lost"
    closes the connection before the server sees the request, "unanswered" closes it after the server has done what was
    asked, and "truncated" closes it in the middle of the answer. ``failed`` counts these requests by operation: the
    method and the names of the parameters, such as "PUT partNumber uploadId".
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.mode: str | None = None
        self.every = 10
        self.failed: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def failing(self, mode: str, every: int = 10):
        self.mode, self.every, self.failed, self._requests = mode, every, Counter(), Counter()
        try:
            yield
        finally:
            self.mode = None

    def failure(self, operation: str) -> str | None:
        """What happens to the next request of this operation."""
        with self._lock:
            if self.mode is None:
                return None
            self._requests[operation] += 1
            if self._requests[operation] % self.every:
                return None
            self.failed[operation] += 1
            return self.mode

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that closes its connection is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FailingProxy

    def _forward(self) -> None:
        names = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        failure = self.proxy.failure(" ".join((self.command, *sorted(names))))
        body = self._body()
        if failure == "slow-down":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if failure == "lost":
            self._cut()
            return
        status, headers, answer = self._asked(body)
        if failure == "unanswered":
            self._cut()
            return
        self._answer(status, headers, answer, cut=failure == "truncated")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=30)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "expect", "connection"):
                    server.putheader(name, value)
            server.putheader("Content-Length", str(len(body)))
            server.endheaders(body)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _answer(self, status: int, headers: list[tuple[str, Any]], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        named = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in named:
            self.send_header("Content-Length", str(len(body)))
        if cut and not body:  # nothing but the headers is left to cut
            self._cut()
            return
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: object) -> None:
        """Nothing."""
