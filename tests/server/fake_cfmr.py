"""Stands in for the command line: writes what `train` and `index` would leave, or fails as the sentence says."""

import json
import sys
import time
from pathlib import Path

import numpy as np

from cfmr.data.features import FeatureWriter


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(label: str, done: int, total: int, **metrics: float) -> None:
    """A line of `--progress json`."""
    line = {"label": label, "done": done, "total": total} | ({"metrics": metrics} if metrics else {})
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def main() -> int:
    command, *rest = sys.argv[1:]
    options = dict(zip(rest[::2], rest[1::2], strict=False)) if command != "extract" else {}
    if command == "train" and "--page-check" in rest:
        folder = Path(options["--log"])
        rows = json.loads((folder / "labels.json").read_text())
        doubtful = [
            {"row": number, "density": 0.1, "second": None if row[2] == [] else 1.5}
            for number, row in enumerate(rows)
            if "wrong" in row[3]
        ]
        points = [[5, 1, len(rows)], [10, 2, len(rows)]]
        (folder / "found.json").write_text(json.dumps({"labels": len(rows), "points": points, "doubtful": doubtful}))
    elif command == "train":
        folder = Path(options["--log"])
        config = json.loads((folder / "config.json").read_text())
        said = " ".join(row[3] for row in json.loads((folder / "all.json").read_text()))
        total = config["train"]["num_fits"]
        for epoch in range(1, total + 1):
            progress(f"epoch {epoch}/{total}", epoch, total, loss=1 / epoch)
            if "slow" in said:
                time.sleep(30)
        if "dies" in said:
            say("cfmr: there is no room left")
            return 2
        held_out = json.loads((folder / "held-out.json").read_text())
        for place, rows in (("trial", "train.json"), (".", "all.json")):
            if place == "." or held_out:
                (folder / place / "run" / "checkpoint").mkdir(parents=True)
                (folder / place / "index").mkdir()
                (folder / place / "index" / "rows.json").write_text((folder / rows).read_text())
    elif command == "index":
        Path(options["--out"]).mkdir(exist_ok=True)
        say("indexed")
    elif command == "extract":
        progress("1 of 2 videos", 1, 2)
        progress("2 of 2 videos", 2, 2)
        out = Path(rest[rest.index("--out") + 1])
        if not out.exists():
            with FeatureWriter(out, {"extractor": "made-up", "version": 1}) as writer:
                for video in Path(rest[0]).rglob("*.mp4"):
                    name = video.relative_to(rest[0]).with_suffix("").as_posix()
                    writer.add(name, np.ones((4, 3), np.float32), duration=6.0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
