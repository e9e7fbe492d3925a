"""Seeded damage to the bytes of a file: what a broken disk, a broken copy or an enemy leaves."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

ODD_NUMBERS = (0, 1, -1, 127, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 64)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", [], {}, [[]], [None], {"": None}, 0, -1, 1, 0.5, -0.0, 1e308, 1e-320, 10**19),
    *(float("nan"), float("inf"), "\u0000", "\n", "../../etc/passwd", "/", "é\u0301", "\U0001f600" * 9, "a" * 5000),
    *(list(range(50)), [[1, 2], [3]], ["a", 1, None], {"a": {"b": {"c": []}}}, 1 << 31, 1 << 62),
)
RAW = (b"9" * 5000, b"1e999", b"NaN", b"[" * 3000, b'"\\ud800"', b"\xff", b"\xef\xbb\xbf", b"{}{}", b"\n\n", b"-")


def mutated(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """A damaged copy: one to four changes, of structure where the content is JSON, else of bytes."""
    if rng.random() < 0.6 and (value := _as_json(content)) is not None:
        for _ in range(rng.randint(1, 3)):
            value = _change(value, rng)
        return _encoded(value, rng)
    if rng.random() < 0.6 and (lines := _as_json_lines(content)):
        for at in rng.sample(range(len(lines)), rng.randint(1, len(lines))):
            lines[at] = _encoded(_change(json.loads(lines[at]), rng), rng)
        return b"\n".join(lines) + b"\n"
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(_CHANGES)(content, rng, others)
    return content


def _as_json(content: bytes) -> Any:
    if content[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def _as_json_lines(content: bytes) -> list[bytes]:
    """The lines of a file with one JSON object each; none of any other file."""
    lines = content.splitlines()
    return lines if lines and all(_as_json(line) is not None for line in lines) else []


def _encoded(value: Any, rng: random.Random) -> bytes:
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _odd(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _change(value: Any, rng: random.Random) -> Any:
    """Change one place of a JSON value, chosen by walking down from its root."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _odd(rng)
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    what = rng.random()
    if what < 0.6:
        value[key] = _change(value[key], rng)
    elif what < 0.75:
        del value[key]
    elif what < 0.85:
        value[key] = copy.deepcopy(value[rng.choice(keys)])
    elif isinstance(value, dict):
        value[rng.choice(("", "x", "é", str(key) + " "))] = _odd(rng)
    else:
        value.insert(key, _odd(rng))
    return value


def _flip(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    data = bytearray(content)
    for _unused in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _number(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    data = bytearray(content)
    size = rng.choice((1, 2, 4, 8))
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        number = rng.choice(ODD_NUMBERS) & ((1 << 8 * size) - 1)
        data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
    return bytes(data)


def _cut(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _remove(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice((1, 2, 8, 100, 1000)) :]


def _repeat(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at : at + rng.choice((1, 4, 64, 1000))] * rng.choice((2, 3, 20)) + content[at:]


def _insert(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((*RAW, rng.randbytes(rng.choice((1, 4, 50))))) + content[at:]


def _zero(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at, length = rng.randrange(len(content) + 1), rng.choice((4, 64, 512, 4096))
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def _splice(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    other = rng.choice(others) if others else content
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (
    *(_flip, _flip, _flip, _number, _number, _cut, _remove, _repeat, _insert, _zero, _splice),
)
