"""Ports on which this machine listens."""

from __future__ import annotations

import socket

from wsl.errors import RunError

LOOPBACK = ("127.0.0.1", "localhost")
"""The names of this machine that no other one reaches."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address and port.

    Raises:
        RunError: the port is in use, or the address is not one of this machine.

    >>> with listen("127.0.0.1", 0) as first:
    ...     listen("127.0.0.1", first.getsockname()[1])
    Traceback (most recent call last):
    wsl.errors.RunError: port ... of 127.0.0.1 cannot be used (Address already in use...): choose another --port
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"port {port} of {host} cannot be used ({reason}): choose another --port") from error
