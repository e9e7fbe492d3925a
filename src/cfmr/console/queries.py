"""What `cfmr search` is asked for: a sentence, a list of them from a file, and moments that are like or unlike it."""

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cfmr.errors import InputError
from cfmr.files.reading import reading, require_regular
from cfmr.search.composed import ComposedQuery, is_stretch, parse_stretch, split_minus

STANDARD = "-"  # input or output
LARGEST_LIST = 16 << 20  # bytes of sentences
COLUMNS = ("sentence", "query", "text")  # of a CSV file with sentences


@dataclass(frozen=True, slots=True)
class Query:
    """A sentence and where it stands."""

    sentence: str
    where: str


def composed_queries(
    sentence: str, path: str | None, like: Sequence[str], unlike: Sequence[str]
) -> list[tuple[str, ComposedQuery]]:
    """What to search for, each with the line of the file where it stands; "" for what the command line says.

    Args:
        sentence: what happens; words with a minus are what it is not.
        path: of a file with sentences.
        like: moments, as VIDEO@START-END.
        unlike: moments, or words.

    Raises:
        InputError: nothing is sought, or both a sentence and a file are given; a moment is not written as one; the file
            cannot be read.
    """
    if (path is None) == (not sentence) and not (like and path is None):
        raise InputError("name what to search for: a sentence, or --queries FILE with one a line (not both)")
    alike = tuple(parse_stretch(one, "--like") for one in like)
    others = tuple(parse_stretch(one, "--not") for one in unlike if is_stretch(one))
    words = tuple(" ".join(one.split()) for one in unlike if not is_stretch(one))
    if not all(words):
        raise InputError("--not: it is empty; name words, or a moment as VIDEO@START-END")
    found = []
    for query in [Query(sentence, "")] if path is None else read_queries(path):
        said, without = split_minus(query.sentence)
        found.append((query.where, ComposedQuery(said, (*without, *words), alike, others)))
    return found


def read_queries(path: str) -> list[Query]:
    """The sentences of a file: one a line, or a column of a CSV file; `-` is standard input.

    Raises:
        InputError: it cannot be read, or has no sentence.
    """
    name = "standard input" if path == STANDARD else path
    with reading(name, "a list of sentences in UTF-8 text", "write one sentence a line"):
        if path == STANDARD:
            raw = sys.stdin.buffer.read(LARGEST_LIST + 1)
        else:
            require_regular(path)
            with open(path, "rb") as file:
                raw = file.read(LARGEST_LIST + 1)
        text = raw.decode("utf-8-sig")
    if len(raw) > LARGEST_LIST:
        raise InputError(f"{name}: is larger than {LARGEST_LIST >> 20} MB; split it")
    rows = _column(name, text) if path.lower().endswith((".csv", ".tsv")) else enumerate(text.splitlines(), 1)
    found = [Query(" ".join(line.split()), f"{name}: line {number}") for number, line in rows if line.strip()]
    if not found:
        raise InputError(f"{name}: there is no sentence in it; write one a line")
    return found


def _column(name: str, text: str) -> Iterable[tuple[int, str]]:
    with reading(name, "a CSV file", "write one sentence a line, or a column called sentence"):
        reader = csv.reader(io.StringIO(text), delimiter="\t" if name.lower().endswith(".tsv") else ",", strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    if not rows:
        return []
    head = [cell.strip().lower() for cell in rows[0][1]]
    at = next((head.index(column) for column in COLUMNS if column in head), None)
    if at is None and len(head) > 1:
        raise InputError(f"{name}: no column is called sentence (they are {', '.join(head)[:100]})")
    return [(number, row[at or 0]) for number, row in rows[at is not None :] if len(row) > (at or 0)]
