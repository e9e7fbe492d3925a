"""The examples of docs/formats.md are what the readers read."""

import json
import re
from pathlib import Path

import pytest

from cfmr.data.layouts.predictions import Submission, read_answers
from cfmr.data.layouts.queries import read_queries
from cfmr.data.layouts.rows import read_rows

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")


def example(title: str) -> str:
    """The first indented block under a heading that begins with `title`."""
    section = re.split(rf"^#+ {re.escape(title)}.*$", PAGE, maxsplit=1, flags=re.MULTILINE)[1]
    block = re.search(r"(?:^    .*\n)+", section, flags=re.MULTILINE)
    assert block
    return re.sub(r"^    ", "", block[0], flags=re.MULTILINE)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("title", "layout", "count"),
    [
        ("QVHighlights", "qvhighlights", 4),
        ("Rows: this project", "rows", 3),
        ("JSON by video", "by-video", 3),
        ("Text: Charades-STA", "charades", 3),
        ("PRVR captions", "prvr", 3),
    ],
)
def test_an_example_of_annotations_is_read_as_what_it_is(tmp_path: Path, title: str, layout: str, count: int) -> None:
    (tmp_path / "Charades_v1_train.csv").write_text("id,length\nAO8RW,33.67\nI8HSW,20\n")
    path = written(tmp_path / "example", example(title))
    found = read_rows(path)
    assert (found.layout, len(found.rows)) == (layout, count)
    assert read_queries(path)


def test_the_examples_of_tvr_and_of_tvr_ranking_are_read(tmp_path: Path) -> None:
    *tvr, ranking = example("TVR, TVR-Ranking").splitlines(keepends=True)
    assert [query.kind for query in read_queries(written(tmp_path / "tvr.jsonl", "".join(tvr)))] == ["v", "vt"]
    assert read_queries(written(tmp_path / "ranking.jsonl", ranking))[0].graded[0].relevance == 4


def test_the_examples_of_answers_are_read(tmp_path: Path) -> None:
    predictions = read_answers(written(tmp_path / "p.jsonl", example("Predictions")))
    assert isinstance(predictions, list)
    assert [len(answer.windows) for answer in predictions] == [2, 1, 1]
    submission = read_answers(written(tmp_path / "s.json", example("TVR submissions")))
    assert isinstance(submission, Submission)
    assert list(submission.tasks) == ["VCMR", "VR"]
    assert json.loads(example("TVR submissions"))["video2idx"] == submission.videos


def test_the_commands_of_the_page_exist() -> None:
    from typer.main import get_command

    from cfmr.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"^    cfmr (.*)$", PAGE, flags=re.MULTILINE):
        name, *words = line.split("  ")[0].split()
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
