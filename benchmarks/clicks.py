"""What a suggested click is worth beside one at random.

    python benchmarks/clicks.py --demo runs/demo --work DIR [--inner]
    python benchmarks/clicks.py --real FOLDER --vectors glove.pkl --work DIR [--inner]

A simulated person is asked about a sentence and the video it is of, and says a glance: the one of the annotation. Which
sentence comes next is drawn at random, as in `label_curve.py` and `real.py --clicks`, or chosen by a rule; `useful` is
the page's (`cfmr.training.questions`). The first 20 are the same for all rules. A model is trained on the clicks as
`cfmr train --select last` does, or (`--quick`) by one fit with the reader that few clicks have, and measured on videos
in which nothing was clicked. With `--inner` everything stays inside the training data (the demo's validation videos;
of the real folds 0 and 1, measured on 2), where the rule was chosen; without it, it is measured on the demo's test
videos and on fold 3, clicked in folds 0 to 2. Choosing and training read no start and no end.

`--answers` is stricter, on the demo alone: after 100 clicks at random the person is asked whether one of these
sentences happens at a second of any of the 220 videos, and says yes or no by the script of the video, as on the page.
Compared are the page's questions, its questions with each no forgotten, the likeliest ones, questions at random, and
as many sentences more that a person thinks of and clicks.

`--wrong` makes a tenth of so many labels wrong, half of them by another sentence, half by a time a quarter of the video
away or more, and says how many of those that `cfmr.training.label_check` doubts are.

Every result is kept in WORK/clicks.jsonl and not measured again. What is printed is Markdown: for each rule and number
of clicks the mean and spread over the seeds, and how many clicks at random bring as much, by a line between the points
of the random curve.
"""

import argparse
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from real import Kept

from cfmr.config import DenseConfig, parse_config, preset
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary, tokenize
from cfmr.data.word_vectors import load_word_vectors
from cfmr.demo.actors import COLOURS, Actor
from cfmr.demo.events import Event
from cfmr.demo.world import video_script
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import Dense
from cfmr.models.dense.selection import first_reader
from cfmr.models.encode import encode_sentences, rank_moments
from cfmr.moments.metrics import iou
from cfmr.training import dense
from cfmr.training.label_check import check_labels
from cfmr.training.questions import chances_of, choose_questions, remaining_variance, sentence_vectors

FIRST = 20  # clicks at random before any rule
BATCH = 50  # clicks that a rule with fits of its own chooses from the same fits
BOOTSTRAPS = 3
MEASURES = ("R@1,IoU=0.5", "among ten", "rank", "likelihood")
SMALLER_IS_BETTER = frozenset({"rank"})

Array = np.ndarray
Rule = Callable[["World", Array, int, int], Array]  # world, the first clicks, how many in all, seed


class World:
    """Rows that may be clicked, and rows of other videos to measure on."""

    def __init__(self, name: str, pool: list[Annotation], test: list[Annotation], config: DenseConfig) -> None:
        self.name, self.pool, self.test, self.config = name, pool, test, config
        self.features = FeatureStore(config.dataset.feature_path)
        self.seconds = {row.video: row.duration for row in test}
        wanted = {word for row in [*pool, *test] for word in tokenize(row.sentence)}
        self.vectors = load_word_vectors(config.dataset.vocab_path, wanted)
        self.lengths = {row.video: row.duration for row in pool}
        self.sentences = sentence_vectors(np.stack([self.mean_of(row) for row in pool]))
        self.videos = np.unique([row.video for row in pool], return_inverse=True)[1]

    def mean_of(self, row: Annotation) -> Array:
        """Mean of the sentence's word vectors."""
        found = self.vectors.of([word for word in tokenize(row.sentence) if word in self.vectors])
        return found.mean(axis=0) if len(found) else np.zeros(self.vectors.dim)

    def vocabulary(self, rows: Sequence[Annotation]) -> Vocabulary:
        return Vocabulary.build([row.sentence for row in rows], self.vectors, self.config.dataset.vocab_size)


def demo_world(demo: Path, inner: bool) -> World:
    config = preset("dense", demo)
    assert isinstance(config, DenseConfig)
    test = load_annotations(demo / "annotations" / f"{'val' if inner else 'test'}.json", spans=True)
    return World("demo", load_annotations(demo / "annotations" / "train.json", glances=True), test, config)


def real_world(folder: Path, vectors: Path, inner: bool) -> World:
    (features,) = folder.glob("*.hdf5")
    fold_of = json.loads((folder / "folds.json").read_text())
    rows = load_annotations(folder / "rows.json", glances=True)
    clicked, measured = ((0, 1), 2) if inner else ((0, 1, 2), 3)
    with FeatureStore(features) as store:
        width = store.read(store.videos[0]).shape[1]
    dataset = {
        "dataset": "real",
        "feature_path": str(features),
        "vocab_path": str(vectors),
        "train_data": "",
        "test_data": "",
    }
    dataset |= {"vocab_size": 8000, "word_dim": 300, "frame_dim": width, "max_num_words": 20, "max_num_frames": 256}
    config = parse_config({"dataset": dataset, "model": {"name": "CFMR-Dense"}}, "clicks.py")
    assert isinstance(config, DenseConfig)
    pool = [row for row in rows if fold_of[row.video] in clicked]
    return World("real", pool, [row for row in rows if fold_of[row.video] == measured], config)


# --- rules ------------------------------------------------------------------------------------------------------------


def at_random(world: World, first: Array, count: int, seed: int) -> Array:
    rest = np.setdiff1d(np.arange(len(world.pool)), first)
    return np.concatenate([first, np.random.default_rng([seed, 6]).permutation(rest)[: count - len(first)]])


def useful(world: World, first: Array, count: int, seed: int) -> Array:
    """The page's: least variance is left over all sentences that might be asked about."""
    rest = np.setdiff1d(np.arange(len(world.pool)), first)
    x, videos = world.sentences, world.videos
    left = remaining_variance(x[rest], videos[rest], x[first], videos[first])
    return np.concatenate([first, rest[choose_questions(left, np.ones(len(rest)), count - len(first))]])


def most_variance(world: World, first: Array, count: int, seed: int) -> Array:
    """The sentence and video of which least is known, whether anything is like them or not."""
    x, videos = world.sentences, world.videos
    left = remaining_variance(x, videos, x[:0], videos[:0])
    chosen = list[int]()
    for number in range(count):
        known = np.diag(left).copy()
        known[chosen] = -1
        one = int(first[number]) if number < len(first) else int(known.argmax())
        left -= np.outer(left[:, one], left[one]) / (left[one, one] + 1)
        chosen.append(one)
    return np.array(chosen)


def k_center(world: World, first: Array, count: int, seed: int) -> Array:
    """The sentence farthest from all clicked ones (Sener and Savarese 2018)."""
    x = world.sentences
    distance = np.min([((x - x[one]) ** 2).sum(axis=1) for one in first], axis=0)
    chosen = list(first)
    while len(chosen) < count:
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


def words(world: World, first: Array, count: int, seed: int) -> Array:
    """The sentence with the most words that are often said and were clicked seldom."""
    said = [set(tokenize(row.sentence)) for row in world.pool]
    often: dict[str, int] = {}
    for some in said:
        for word in some:
            often[word] = often.get(word, 0) + 1
    clicked = dict.fromkeys(often, 0)
    chosen = list[int]()
    for number in range(count):
        worth = [
            -1.0 if i in chosen else sum(often[w] / (1 + clicked[w]) ** 2 for w in some) / (len(some) or 1)
            for i, some in enumerate(said)
        ]
        one = int(first[number]) if number < len(first) else int(np.argmax(worth))
        chosen.append(one)
        for word in said[one]:
            clicked[word] += 1
    return np.array(chosen)


def by_fits(score: Callable[[list[list[Array]]], Array]) -> Rule:
    """A rule that looks at the curves of fits to bootstrap samples of the clicks."""

    def choose(world: World, first: Array, count: int, seed: int) -> Array:
        chosen = first
        while len(chosen) < count:
            rest = np.setdiff1d(np.arange(len(world.pool)), chosen)
            curves = [pool_curves(world, chosen, rest, seed, number) for number in range(BOOTSTRAPS)]
            best = rest[np.argsort(-score(curves), kind="stable")]
            chosen = np.concatenate([chosen, best[: min(BATCH, count - len(chosen))]])
        return chosen

    return choose


def pool_curves(world: World, chosen: Array, rest: Array, seed: int, number: int) -> list[Array]:
    """Relevance of each row's sentence over its video, by a fit to a bootstrap sample."""
    sample = np.random.default_rng([seed, number, len(chosen)]).choice(chosen, len(chosen))
    _, model, vocabulary = quick_model(world, [world.pool[i] for i in sample], seed, number)
    vectors: dict[str, Array] = {}
    found = []
    for i in rest:
        row = world.pool[i]
        if row.video not in vectors:
            vectors[row.video] = model.video_vectors(world.features.read(row.video), row.duration)[0]
        sentence = sentence_vector(model, vocabulary, row.sentence)
        found.append(np.zeros(len(vectors[row.video])) if sentence is None else vectors[row.video] @ sentence)
    return found


def _shares(curve: Array) -> Array:
    exponents = np.exp(curve - curve.max())
    return exponents / exponents.sum()


def disagreement(curves: list[list[Array]]) -> Array:
    """How far the places differ that the fits give: Jensen-Shannon divergence of their softmaxes."""
    found = []
    for of_row in zip(*curves, strict=True):
        shares = [_shares(curve) for curve in of_row]
        mean = np.mean(shares, axis=0)
        found.append(np.mean([(p * np.log((p + 1e-9) / (mean + 1e-9))).sum() for p in shares]))
    return np.array(found)


def margin(curves: list[list[Array]]) -> Array:
    """How little the best place stands out: the entropy of the mean curve's softmax, relative to the greatest."""
    found = []
    for of_row in zip(*curves, strict=True):
        p = _shares(np.mean(of_row, axis=0))
        found.append(-(p * np.log(p + 1e-9)).sum() / max(np.log(len(p)), 1e-9))
    return np.array(found)


RULES: dict[str, Rule] = {
    "random": at_random,
    "useful": useful,
    "most variance": most_variance,
    "k-center": k_center,
    "words": words,
    "disagreement": by_fits(disagreement),
    "margin": by_fits(margin),
}


# --- measuring --------------------------------------------------------------------------------------------------------


def quick_model(
    world: World, rows: list[Annotation], seed: int, number: int = 1, negatives: Sequence[Annotation] = ()
) -> tuple[DenseFit, Dense, Vocabulary]:
    """One fit, and what stands beside it, read as few clicks are."""
    vocabulary = world.vocabulary(rows)
    words = world.config.dataset.max_num_words
    clips = ClipSet(rows, world.features, vocabulary, max_num_words=words, negatives=negatives)
    fit = DenseFit(clips, seed, first_reader(clips.glances, clips.seconds[clips.videos]))
    maps, _ = fit.run(np.arange(len(rows)), number)
    return fit, fit.model([fit.exported(maps)], world.config.dataset.max_num_frames), vocabulary


def trained_model(world: World, rows: list[Annotation], seed: int, work: Path) -> tuple[Dense, Vocabulary]:
    """As `cfmr train` makes it. The file that it reads has neither start nor end."""
    path = work / f"rows-{os.getpid()}.json"
    save_annotations(path, [Annotation(a.video, a.duration, a.sentence, a.glance, None) for a in rows])
    data = world.config.dataset.model_copy(update={"train_data": str(path), "val_data": None, "test_data": ""})
    run = work / f"run-{os.getpid()}"
    dense.train(world.config.model_copy(update={"dataset": data}), run, select="last", seed=seed)
    checkpoint = Checkpoint.load(run / "checkpoint")
    return Dense.restore(checkpoint), checkpoint.vocabulary


def sentence_vector(model: Dense, vocabulary: Vocabulary, sentence: str) -> Array | None:
    """None of a sentence of which no word is known."""
    known = vocabulary.ids(sentence, 20)
    return encode_sentences(model, [sentence], vocabulary, 20)[0] if known else None


def figures(world: World, model: Dense, vocabulary: Vocabulary) -> dict[str, float]:
    """MEASURES: two of the field, in percent, and two that are less noisy: the mean rank of the right video, in percent
    of all, and the mean logarithm of how likely glances are under a curve, some of which say nothing."""
    clips = {name: model.video_vectors(world.features.read(name), length)[0] for name, length in world.seconds.items()}
    names = list(clips)
    found = []
    for row in world.test:
        sentence = sentence_vector(model, vocabulary, row.sentence)
        if sentence is None:
            found.append((0.0, 0.0, 100.0, np.log(0.3)))
            continue
        peaks = np.array([float((clips[name] @ sentence).max()) for name in names])
        rank = int((peaks > peaks[names.index(row.video)]).sum())
        scores = clips[row.video] @ sentence
        edges = np.arange(len(scores) + 1) / len(scores)
        answers, _ = rank_moments(model.readout, scores, np.stack([edges[:-1], edges[1:]], axis=1), row.duration)
        hit = iou(answers[:1].astype(float), np.array([row.span]) / row.duration)[0] >= 0.5
        glance = min(int((row.glance or 0.0) / row.duration * len(scores)), len(scores) - 1)
        likelihood = np.log(0.7 * _shares(scores)[glance] * len(scores) + 0.3)
        found.append((100.0 * hit, 100.0 * (rank < 10), 100 * rank / len(names), likelihood))
    return dict(zip(MEASURES, np.mean(found, axis=0).round(4).tolist(), strict=True))


# --- yes or no --------------------------------------------------------------------------------------------------------


class Person:
    """Knows what happens in the demo's training videos, by their scripts."""

    def __init__(self, demo: Path, pool: Sequence[Annotation]) -> None:
        seed = json.loads((demo / "world.json").read_text())["seed"]
        names = dict.fromkeys(row.video for row in pool)
        scripts = {name: video_script(seed, "train", int(name.rpartition("-")[2])) for name in names}
        self._events = {name: script.events for name, script in scripts.items()}
        self._meant = {(name, said): event for name, script in scripts.items() for said, event in script.sentences}

    def says(self, row: Annotation, video: str, second: float) -> bool:
        """Whether a row's sentence is true at a second of any video."""
        meant, tokens = self._meant[row.video, row.sentence], set(tokenize(row.sentence))
        coloured = [not tokens.isdisjoint(COLOURS[actor.colour][1]) for actor in meant.actors]
        return any(
            _shows(event, meant, coloured) for event in self._events[video] if event.start <= second <= event.end
        )


def _shows(event: Event, meant: Event, coloured: Sequence[bool]) -> bool:
    def fits(actor: Actor, which: int) -> bool:
        named = meant.actors[which]
        return actor.kind == named.kind and (actor.colour == named.colour or not coloured[which])

    return any(
        meant.kind in event.happening(part)
        and fits(actor, 0)
        and (len(meant.actors) == 1 or (len(event.actors) == 2 and fits(event.actors[1 - part], 1)))
        for part, actor in enumerate(event.actors)
    )


ANSWERED_FIRST, ROUND, PLACES = 100, 20, 8
WAYS = ("useful", "useful, no forgotten", "likeliest", "at random", "typed")


def answered(world: World, person: Person, way: str, answers: int, seed: int) -> dict[str, float]:
    """Figures after so many questions, and the share of yes, in percent."""
    draw = np.random.default_rng([seed, 5])
    order = draw.permutation(len(world.pool))
    labels = [world.pool[i] for i in order[: ANSWERED_FIRST + (answers if way == "typed" else 0)]]
    looked_for = list(labels)
    negatives: list[Annotation] = []
    asked: set[tuple[str, str]] = {(row.video, row.sentence) for row in labels}
    yes = 0
    for _ in range(0, 0 if way == "typed" else answers, ROUND):
        _, model, vocabulary = quick_model(world, labels, seed, negatives=negatives)
        for row, video, second in questions(world, model, vocabulary, way, looked_for, labels, asked, draw):
            asked.add((video, row.sentence))
            length = world.lengths[video]
            if person.says(row, video, second):
                labels.append(Annotation(video, length, row.sentence, second, None))
                yes += 1
            elif way != "useful, no forgotten":
                negatives.append(Annotation(video, length, row.sentence, second, None, absent=True))
    _, model, vocabulary = quick_model(world, labels, seed, negatives=negatives)
    return figures(world, model, vocabulary) | {"yes": 100 * yes / max(answers, 1)}


def questions(
    world: World,
    model: Dense,
    vocabulary: Vocabulary,
    way: str,
    looked_for: Sequence[Annotation],
    labels: Sequence[Annotation],
    asked: set[tuple[str, str]],
    draw: np.random.Generator,
) -> list[tuple[Annotation, str, float]]:
    """A round of them: a row whose sentence is meant, a video and a second."""
    names = list(world.lengths)
    if way == "at random":
        rows, videos = draw.integers(len(looked_for), size=ROUND), draw.integers(len(names), size=ROUND)
        pairs = [(looked_for[row], names[video]) for row, video in zip(rows, videos, strict=True)]
        return [(row, video, float(draw.uniform(0, world.lengths[video]))) for row, video in pairs]
    clips = {name: model.video_vectors(world.features.read(name), world.lengths[name])[0] for name in names}
    found, chances = list[tuple[Annotation, str, float]](), list[float]()
    for row in looked_for:
        sentence = sentence_vector(model, vocabulary, row.sentence)
        assert sentence is not None
        curves = {name: clips[name] @ sentence for name in names}
        best = sorted(names, key=lambda name: -float(curves[name].max()))[:PLACES]
        likely = chances_of([float(curves[name].max()) for name in best])
        for name, chance in zip(best, likely.tolist(), strict=True):
            if (name, row.sentence) not in asked:
                second = (int(curves[name].argmax()) + 0.5) / len(curves[name]) * world.lengths[name]
                found.append((row, name, second))
                chances.append(chance)
    if way == "likeliest":
        return [found[i] for i in np.argsort(chances)[::-1][:ROUND]]
    vectors = sentence_vectors(np.stack([world.mean_of(row) for row in [*(one[0] for one in found), *labels]]))
    videos = np.unique([*(one[1] for one in found), *(row.video for row in labels)], return_inverse=True)[1]
    count = len(found)
    left = remaining_variance(vectors[:count], videos[:count], vectors[count:], videos[count:])
    return [found[i] for i in choose_questions(left, np.array(chances), ROUND)]


def print_answers(world: World, demo: Path, kept: Kept, how: str, seeds: int, counts: Sequence[int]) -> None:
    person = Person(demo, world.pool)
    print("| questions | answers | yes, % | " + " | ".join(MEASURES) + " |\n|" + "---|" * (3 + len(MEASURES)))
    for count in counts:
        for way in WAYS if count else WAYS[-1:]:
            runs = []
            for seed in range(seeds):
                measure = functools.partial(answered, world, person, way, count, seed)
                runs.append(kept(f"{world.name} {how} answers {way} {count} {seed}", measure))
            values = {name: [run[name] for run in runs] for name in ("yes", *MEASURES)}
            spread = {name: np.std(some, ddof=1) if seeds > 1 else 0.0 for name, some in values.items()}
            cells = [f"{np.mean(values[name]):.2f} ± {spread[name]:.2f}" for name in MEASURES]
            print(f"| {way} | {count} | {np.mean(values['yes']):.0f} | " + " | ".join(cells) + " |", flush=True)


# --- wrong labels -----------------------------------------------------------------------------------------------------

WRONG, FIRST_LOOKED_AT = 0.1, 20


def doubted(world: World, count: int, seed: int) -> dict[str, float]:
    """How well wrong labels are told from right ones, in percent."""
    draw = np.random.default_rng([seed, 8])
    rows = [world.pool[i] for i in draw.permutation(len(world.pool))[:count]]
    wrong = set(draw.permutation(count)[: round(WRONG * count)].tolist())
    for number, row in enumerate(sorted(wrong)):
        rows[row] = _made_wrong(world, rows[row], number % 2 == 0, draw)
    vocabulary = world.vocabulary(rows)
    known = [i for i, row in enumerate(rows) if vocabulary.ids(row.sentence, 20)]
    clips = ClipSet([rows[i] for i in known], world.features, vocabulary, max_num_words=20)
    fit = DenseFit(clips, seed, first_reader(clips.glances, clips.seconds[clips.videos]))
    doubtful = [known[one.row] in wrong for one in check_labels(fit).doubtful]
    return {
        "doubted": len(doubtful),
        "of them wrong": 100 * float(np.mean(doubtful or [0])),
        "of the wrong ones doubted": 100 * sum(doubtful) / len(wrong),
        f"of the first {FIRST_LOOKED_AT} wrong": 100 * float(np.mean(doubtful[:FIRST_LOOKED_AT] or [0])),
    }


def _made_wrong(world: World, row: Annotation, other_sentence: bool, draw: np.random.Generator) -> Annotation:
    if other_sentence:
        others = [one for one in world.pool if one.video != row.video]
        return replace(row, sentence=others[draw.integers(len(others))].sentence)
    away = draw.uniform(0.25, 0.75) * row.duration
    return replace(row, glance=((row.glance or 0.0) + away) % row.duration)


def print_doubted(world: World, kept: Kept, seeds: int, counts: Sequence[int]) -> None:
    for number, count in enumerate(counts):
        runs = [
            kept(f"{world.name} wrong {count} {seed}", functools.partial(doubted, world, count, seed))
            for seed in range(seeds)
        ]
        if not number:
            print("| labels | " + " | ".join(runs[0]) + " |\n|" + "---|" * (1 + len(runs[0])))
        print(f"| {count} | " + " | ".join(f"{np.mean([run[name] for run in runs]):.1f}" for name in runs[0]) + " |")


def measured(world: World, rule: str, clicks: int, seed: int, work: Path, quick: bool) -> dict[str, float]:
    first = np.random.default_rng([seed, 5]).permutation(len(world.pool))[:FIRST]
    chosen = [world.pool[i] for i in RULES[rule](world, first, clicks, seed)]
    model, vocabulary = quick_model(world, chosen, seed)[1:] if quick else trained_model(world, chosen, seed, work)
    return figures(world, model, vocabulary)


def clicks_at_random(curve: Sequence[tuple[int, float]], value: float) -> float:
    """How many clicks at random bring a value: by the line, over the logarithm of the number, between two points of the
    curve; nan beyond its ends."""
    for (few, low), (many, high) in itertools.pairwise(curve):
        if min(low, high) <= value <= max(low, high) and low != high:
            return float(
                np.exp(np.interp(value, *zip(*sorted([(low, np.log(few)), (high, np.log(many))]), strict=True)))
            )
    return float("nan")


def table(
    found: dict[tuple[str, int], list[dict[str, float]]], rules: Sequence[str], clicks: Sequence[int]
) -> Iterator[str]:
    """Markdown."""
    yield "| rule, clicks | " + " | ".join(f"{name} | as many at random" for name in MEASURES) + " |"
    yield "|" + "---|" * (1 + 2 * len(MEASURES))
    drawn = [number for number in sorted(clicks) if ("random", number) in found]
    random = {
        name: [(n, float(np.mean([run[name] for run in found["random", n]]))) for n in drawn] for name in MEASURES
    }
    for rule in rules:
        for number in sorted(clicks):
            runs = found.get((rule, number))
            if not runs:
                continue
            cells = []
            for name in MEASURES:
                values = [run[name] for run in runs]
                spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
                same = "-" if rule == "random" else f"{clicks_at_random(random[name], float(np.mean(values))):.0f}"
                cells.append(f"{np.mean(values):.2f}{spread} | {same}")
            yield f"| {rule}, {number} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="a finished `cfmr demo`")
    parser.add_argument("--real", type=Path, help="a folder with features, rows.json and folds.json")
    parser.add_argument("--vectors", type=Path, help="word vectors of the real features' sentences")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["random", "useful"])
    parser.add_argument("--clicks", type=int, nargs="+", default=[100, 150, 225, 340])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--answers", type=int, nargs="+", help="of the demo: so many answers of yes or no")
    parser.add_argument("--wrong", type=int, nargs="+", help="labels, a tenth of them wrong, to be looked at again")
    parser.add_argument("--inner", action="store_true", help="inside the training data, for choices")
    parser.add_argument("--quick", action="store_true", help="one fit, and nothing chosen")
    options = parser.parse_args()
    if (options.demo is None) == (options.real is None):
        parser.error("give --demo or --real")
    options.work.mkdir(parents=True, exist_ok=True)
    inner = options.inner
    world = demo_world(options.demo, inner) if options.demo else real_world(options.real, options.vectors, inner)
    kept, how = (
        Kept(options.work / "clicks.jsonl"),
        f"{'inner' if inner else 'final'} {'quick' if options.quick else 'whole'}",
    )
    if options.wrong:
        print_doubted(world, kept, options.seeds, options.wrong)
        return
    if options.answers:
        print_answers(world, options.demo, kept, how, options.seeds, options.answers)
        return
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in options.clicks:
        for rule in options.rules:
            for seed in range(options.seeds):
                key = f"{world.name} {how} {rule} {number} {seed}"
                run = functools.partial(measured, world, rule, number, seed, options.work, options.quick)
                found.setdefault((rule, number), []).append(kept(key, run))
    print(f"{world.name}: {len(world.pool)} sentences may be clicked; measured on {len(world.test)} of "
          f"{len(world.seconds)} videos; seeds: {options.seeds}, {how}\n")  # fmt: skip
    print("\n".join(table(found, options.rules, options.clicks)))


if __name__ == "__main__":
    main()
