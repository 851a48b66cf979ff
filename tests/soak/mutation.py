"""Damaging files: bytes, numbers, lines, and the nodes of JSON and XML, by a seeded generator."""

from __future__ import annotations

import json
import random
import re

NUMBERS = (
    *("0", "-1", "0.5", "-0.0", "65536", "2147483648", "1e18", "1e999", "1e-320", "NaN", "-Infinity", ""),
    *("9" * 30, "9" * 5000),
)
TEXTS = (
    *("", "..", "../../x", "/etc/passwd", "C:\\x", "\ud800", "a\0b", "\n", "\x1b[2J", "${jndi}", "%s%n"),
    *("x" * 5000, "犬" * 300),
)
VALUES = (
    *(None, True, False, 0, -1, 10**25, 1e300, float("nan"), float("inf"), "", "x"),
    *([], {}, [[]], {"a": {}}, [1] * 1000),
)
TOKENS = (
    *(b"\xff\xfe", b"\0" * 70, b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<", b"]]>", b'"', b"{", b"[" * 3000, b"&b;"),
    *(b"\r", b"!!python/object:os.system ", b"&a [*a]", b"\xef\xbb\xbf", b",", b";"),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file's bytes, changed in one to four places."""
    if rng.random() < 0.4 and (changed := _json(data, rng)) is not None:
        return changed
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice((_flip, _cut, _insert, _delete, _repeat, _number, _number, _line, _fill))(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    # Headers say the most.
    return min(int(rng.expovariate(1 / 40)), len(data)) if rng.random() < 0.5 else rng.randint(0, len(data))


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _fill(data: bytes, rng: random.Random) -> bytes:
    at, count = _place(data, rng), rng.choice((2, 4, 8))
    return data[:at] + rng.choice((b"\xff", b"\x7f", b"\0")) * count + data[at + count :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice((*TOKENS, rng.choice(TEXTS).encode("utf-8", "surrogatepass"))) + data[at:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 64)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at : at + rng.choice((4, 16, 64))] * rng.choice((2, 3, 50)) + data[at:]


def _number(data: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(rb"-?[0-9]+\.?[0-9]*", data[:100_000]))
    if not places:
        return _flip(data, rng)
    match = rng.choice(places)
    return data[: match.start()] + rng.choice(NUMBERS).encode("ascii") + data[match.end() :]


def _line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at:at] = [lines[rng.randrange(len(lines))]]
    return b"\n".join(lines)


def _json(data: bytes, rng: random.Random) -> bytes | None:
    """A JSON document, or one line of several, with one of its nodes replaced; None where it is none."""
    lines = data.split(b"\n")
    whole = data.lstrip()[:1] in (b"{", b"[") and len(lines) > 1 and lines[0].strip() in (b"{", b"[")
    at = rng.randrange(len(lines))
    try:
        document = json.loads(data if whole or len(lines) < 3 else lines[at])
    except (ValueError, RecursionError):
        return None
    nodes = list(_nodes(document))
    if not nodes:
        return None
    holder, key = rng.choice(nodes)
    action = rng.random()
    if action < 0.2:
        del holder[key]
    elif action < 0.3 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = rng.choice((*VALUES, *TEXTS))
    text = json.dumps(document).encode("utf-8")
    if whole or len(lines) < 3:
        return text
    return b"\n".join([*lines[:at], text, *lines[at + 1 :]])


def _nodes(document: object):
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in list(pairs):
        yield document, key
        yield from _nodes(value)
