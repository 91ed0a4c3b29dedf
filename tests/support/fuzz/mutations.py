"""Damage to files: bytes, JSON values and text, drawn from a seed."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, float("nan"), 10**30, "", "x" * 100_000, "\ud800", "a\nb", "\0"),
    *([], {}, [None], {"a": 1}, [[]], "nan", "$x_{", "中" * 100),
)
"""Values that no field has."""

ODD_TEXT = (
    *(b"!!int x", b"!!timestamp x", b"2020-99-99", b"&a [*a]", b"-h", b"--help", b"\xff\xfe"),
    *(b"[" * 3000, b"9" * 5000, b"null", b"\n", b"\0", b"{", b"'", b": ", b"\xc0\xaf", b"- "),
)
"""Pieces of text that readers stumble over."""


def damage(path: Path, rng: random.Random) -> None:
    """Damage a file in place, in one of the ways that fit its kind."""
    content = path.read_bytes()
    ways = [_change_bytes, _cut, _repeat, _splice]
    if path.suffix in (".json", ".jsonl"):
        ways = [_change_json] * 4 + ways
    if path.suffix == ".safetensors":
        ways = [_change_header] * 4 + ways
    path.write_bytes(rng.choice(ways)(content, rng))


def _change_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    stop = start if rng.random() < 0.5 else min(stop, start + 8)
    return content[:start] + rng.choice(ODD_TEXT) + content[stop:]


def _change_json(content: bytes, rng: random.Random) -> bytes:
    """Change, move or remove one value anywhere in the first JSON document."""
    lines = content.splitlines() or [b""]
    text, rest = (lines[0], lines[1:]) if lines[0].endswith(b"}") else (content, [])
    try:
        document = json.loads(text)
    except ValueError:
        return _splice(content, rng)
    place = document
    while isinstance(place, dict | list) and place:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inside = place[key]
        if not isinstance(inside, dict | list) or not inside or rng.random() < 0.2:
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = rng.choice(ODD)
            break
        place = inside
    return b"\n".join([json.dumps(document).encode(), *rest])


def _change_header(content: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file, its length with it."""
    (size,) = struct.unpack("<Q", content[:8])
    header = _change_json(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]
