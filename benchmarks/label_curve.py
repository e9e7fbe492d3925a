"""What clicks are worth, with and without what is known before the first one.

    python benchmarks/label_curve.py --demo runs/demo --work DIR [--clicks 0 10 100] [--seeds 4] [--rows test]

DEMO is a finished `cfmr demo`. Clicks are drawn from its training rows at random, the same for both columns; a model is
trained on them as `cfmr train --select last` does, once with `train.prior` and once without, and measured on rows of
other videos (`--rows val` is what the method was chosen on). A sentence of which a model knows no word counts as
missed. With no click, the prior is the index of `cfmr index --zero-shot builtin`. The constant that the clicks imply is
what the reader chosen by them answers where it looks at no curve. What is printed is Markdown.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cfmr.config import DenseConfig, preset
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.index.prior_source import PriorModel
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.model import Dense
from cfmr.models.encode import encode_sentences, rank_moments
from cfmr.moments.metrics import iou
from cfmr.moments.span_reader import Readout, SpanReader, read_moments
from cfmr.training import dense
from cfmr.training.evaluation import constant_answer

SHOWN = ("R@1,IoU=0.5", "right video first", "among ten", "weight")
IMPLIED = "implied constant"


class Searched:
    """Figures of vectors of videos and of sentences.

    Args:
        clips: vectors (m, D) of each video.
        sentences: vector (D,) of each row, None where no word is known.
    """

    def __init__(
        self, rows: Sequence[Annotation], clips: dict[str, np.ndarray], sentences: Sequence[np.ndarray | None]
    ) -> None:
        self.rows, self.clips, self.sentences = rows, clips, sentences

    def hits(self, readout: Readout) -> list[bool]:
        """Whether the first answer in a row's own video overlaps the moment by half."""
        return [vector is not None and self._hit(row, vector, readout) for row, vector in self._pairs()]

    def _hit(self, row: Annotation, vector: np.ndarray, readout: Readout) -> bool:
        assert row.span is not None
        scores = self.clips[row.video] @ vector
        edges = np.arange(len(scores) + 1) / len(scores)
        answers, _ = rank_moments(readout, scores, np.stack([edges[:-1], edges[1:]], axis=1), row.duration)
        return bool(iou(answers[:1].astype(float), np.array([row.span]) / row.duration)[0] >= 0.5)

    def implied_constant(self, readout: Readout) -> float:
        """R@1,IoU=0.5 of what is answered where no curve is looked at: the constant that the clicks imply, percent."""
        assert isinstance(readout, SpanReader)
        blind, hits = replace(readout, curve_weight=0.0), list[bool]()
        for row in self.rows:
            answers, _ = read_moments(np.zeros(len(self.clips[row.video])), row.duration, blind, 1)
            hits.append(bool(iou(answers, np.array([row.span]) / row.duration)[0] >= 0.5))
        return 100 * float(np.mean(hits))

    def ranks(self) -> list[float]:
        """The right video's place among all, from 0; equal scores share theirs."""
        return [np.inf if vector is None else self._rank(row, vector) for row, vector in self._pairs()]

    def _rank(self, row: Annotation, vector: np.ndarray) -> float:
        best = {name: float((clips @ vector).max()) for name, clips in self.clips.items()}
        others = np.array([score for name, score in best.items() if name != row.video])
        return float((others > best[row.video]).sum() + (others == best[row.video]).sum() / 2)

    def _pairs(self) -> list[tuple[Annotation, np.ndarray | None]]:
        return list(zip(self.rows, self.sentences, strict=True))

    def figures(self, readout: Readout, weight: float) -> dict[str, float]:
        """In percent."""
        ranks = np.array(self.ranks())
        shares = [np.mean(self.hits(readout)), (ranks < 1).mean(), (ranks < 10).mean()]
        found = dict(zip(SHOWN, [*(100 * float(share) for share in shares), weight], strict=True))
        return found | {IMPLIED: self.implied_constant(readout)}


class Bench:
    """One demo: its features, the rows that are clicked, and those that are measured."""

    def __init__(self, demo: Path, work: Path, rows: str) -> None:
        config = preset("dense", demo)
        assert isinstance(config, DenseConfig)
        self.config, self.work = config, work
        self.store = FeatureStore(config.dataset.feature_path)
        self.training = load_annotations(demo / "annotations" / "train.json", glances=True)
        self.rows = load_annotations(demo / "annotations" / f"{rows}.json", spans=True)
        self.seconds = {row.video: row.duration for row in self.rows}

    def trained(self, clicks: int, seed: int, prior: bool) -> dict[str, float]:
        """Train on so many clicks and measure."""
        chosen = np.random.default_rng([seed, 5]).permutation(len(self.training))[:clicks]
        path = self.work / "rows.json"
        save_annotations(path, [self.training[i] for i in chosen])
        data = self.config.dataset.model_copy(update={"train_data": str(path), "val_data": None, "test_data": ""})
        config = self.config.model_copy(
            update={"dataset": data, "train": self.config.train.model_copy(update={"prior": prior})}
        )
        dense.train(config, self.work / "run", select="last", seed=seed)
        checkpoint = Checkpoint.load(self.work / "run" / "checkpoint")
        model, words = Dense.restore(checkpoint), config.dataset.max_num_words
        known = [bool(checkpoint.vocabulary.ids(row.sentence, words)) for row in self.rows]
        read = [row.sentence for row, is_known in zip(self.rows, known, strict=True) if is_known]
        vectors = iter(encode_sentences(model, read, checkpoint.vocabulary, words) if read else [])
        clips = {name: model.video_vectors(self.store.read(name), self.seconds[name])[0] for name in self.seconds}
        found = Searched(self.rows, clips, [next(vectors) if is_known else None for is_known in known])
        return found.figures(model.readout, 0.0 if model.prior is None else model.prior.weight)

    def untrained(self) -> dict[str, float]:
        """What is known before the first click."""
        model = PriorModel(self.store)
        clips = {name: model.moment_vectors(self.store.read(name), self.seconds[name]) for name in self.seconds}
        readable = set(model.readable([row.sentence for row in self.rows]))
        sentences = [model.text_vectors([row.sentence])[0] if row.sentence in readable else None for row in self.rows]
        return Searched(self.rows, clips, sentences).figures(model.readout, 1.0)


def cells(runs: Sequence[dict[str, float]], names: Sequence[str]) -> str:
    """Mean, and spread where there are several runs."""
    made = []
    for name in names:
        values = [run[name] for run in runs]
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        made.append(f"{np.mean(values):.1f}{spread}" if values else "-")
    return " | ".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clicks", type=int, nargs="+", default=[0, 1, 3, 10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", choices=["val", "test"], default="test")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.demo, options.work, options.rows)
    print(f"{len(bench.rows)} sentences of {len(bench.seconds)} videos, seeds: {options.seeds}; best constant answer: "
          f"R@1,IoU=0.5 {constant_answer(bench.rows)['R@1,IoU=0.5']:.1f}\n")  # fmt: skip
    head = [IMPLIED, *(f"{name}, without" for name in SHOWN[:3]), *(f"{name}, with" for name in SHOWN)]
    print("| clicks | " + " | ".join(head) + " |\n|" + "---|" * (len(head) + 1))
    for clicks in options.clicks:
        without = [bench.trained(clicks, seed, prior=False) for seed in range(options.seeds)] if clicks else []
        known = [bench.trained(clicks, seed, prior=True) for seed in range(options.seeds)] if clicks else []
        known = known or [bench.untrained()]
        line = f"{cells(without or known, [IMPLIED])} | {cells(without, SHOWN[:3])} | {cells(known, SHOWN)}"
        print(f"| {clicks} | {line} |", flush=True)


if __name__ == "__main__":
    main()
