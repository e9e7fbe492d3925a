"""A model's answers to sentences in the field's form, so that the field's own scripts can score them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfmr.config import Config, Dataset
from cfmr.data.annotations import Annotation, by_sentence
from cfmr.data.features import FeatureStore
from cfmr.data.layouts.predictions import (
    Answers,
    Prediction,
    Submission,
    as_written,
    write_predictions,
    write_submission,
)
from cfmr.data.layouts.queries import Query, read_queries, video_lengths
from cfmr.data.text_features import sentence_vocabulary
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.models.base import Model, load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.models.encode import Array, Encoded, encode, rank_moments
from cfmr.moments.anchors import anchor_relevance
from cfmr.moments.highlights import CLIP_SECONDS
from cfmr.moments.rejection import THRESHOLDS, Existence
from cfmr.moments.scoring import score
from cfmr.moments.span_reader import Readout
from cfmr.training.data import validation_rows
from cfmr.training.evaluation import search_collection

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answerer:
    """A model with what it needs to answer sentences.

    Attributes:
        model: as trained.
        vocabulary: its words; a sentence without any of them is answered with the whole video, score 0.
        max_num_words: longer sentences are cut.
        features: of all videos.
        existence: how sure to be that anything fits, by the best score; None: not said.
    """

    model: Model
    vocabulary: Vocabulary
    max_num_words: int
    features: FeatureStore
    existence: Existence | None = None

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        dataset: Dataset,
        queries: Sequence[Query],
        *,
        backend: str = "pytorch",
        device: str = "cpu",
    ) -> "Answerer":
        """Of a checkpoint, for some sentences whose features and, where it has no words, text features are known.

        Raises:
            InputError: the checkpoint or a file that `dataset` names cannot be used, or lacks a video or a sentence.
        """
        sizes = checkpoint.config.dataset
        features = FeatureStore(dataset.feature_path)
        features.check(video_lengths(queries), sizes.frame_dim)
        words = sentence_vocabulary(checkpoint.vocabulary, dataset.vocab_path, queries, sizes.word_dim)
        return cls(load_model(checkpoint, backend, device), words, sizes.max_num_words, features)

    @classmethod
    def of_run(
        cls,
        config: Config,
        path: Path,
        queries: Sequence[Query],
        calibrate: Path | None = None,
        *,
        backend: str = "pytorch",
        device: str = "cpu",
    ) -> "Answerer":
        """The same of a run's directory or a checkpoint, made sure of what fits nothing.

        That is learnt on the sentences of `calibrate`; without it, where a sentence is not known to have a moment, on
        those that the run validated on, as far as their features are there.

        Args:
            config: which names the features.
            path: the run or its checkpoint.
            queries: that are to be answered.
            calibrate: validation annotations of any layout.
        """
        checkpoint = Checkpoint.load(find_checkpoint(path))
        own: _Validation | None = None
        validation: Sequence[Query] = []
        if calibrate is not None:
            validation = read_queries(calibrate)
        elif not all(query.windows for query in queries):
            own = _validated_on(checkpoint, config)
        answerer = cls.load(checkpoint, config.dataset, [*queries, *validation], backend=backend, device=device)
        if own is not None:
            learnt = replace(answerer, vocabulary=own.vocabulary, features=own.features).calibrate(own.queries)
            return replace(answerer, existence=learnt.existence)
        return answerer.calibrate(validation) if validation else answerer

    # --- within one video each ----------------------------------------------------------------------------------------

    def predict(self, queries: Sequence[Query]) -> list[Prediction]:
        """Moments, scores of clips and, where `existence` is known, how sure it is that anything fits.

        Raises:
            InputError: the length of a video is not known.
        """
        durations = self._durations(queries)
        return [
            self._prediction(query, durations[query.video], answer)
            for query, answer in zip(queries, self._scores(queries), strict=True)
        ]

    def _prediction(self, query: Query, duration: float, answer: tuple[Array, Array] | None) -> Prediction:
        count = max(1, int(np.ceil(duration / CLIP_SECONDS)))
        if answer is None:
            nothing = None if self.existence is None else 0.0
            windows = np.array([[0.0, duration, 0.0]])
            return Prediction(query.qid, windows, np.zeros(count), nothing, query.video, query.sentence)
        scores, spans = answer
        found, values = rank_moments(self.model.readout, scores, spans, duration)
        windows = as_written(np.column_stack([np.clip(found * duration, 0, duration), values]))
        exist = None if self.existence is None else float(as_written(self.existence(scores.max())))
        clips = as_written(clip_scores(self.model.readout, scores, spans * duration, count))
        return Prediction(query.qid, windows, clips, exist, query.video, query.sentence)

    def _scores(self, queries: Sequence[Query]) -> Iterator[tuple[Array, Array] | None]:
        """Scores (m,) and spans (m, 2) of the vectors of each sentence's video; None where no word is known."""
        encoded, places = self._encode(queries)
        for query, place in zip(queries, places, strict=True):
            vectors, spans = encoded.videos[query.video]
            yield None if place is None else (vectors @ encoded.sentences[place], spans)

    def _encode(self, queries: Sequence[Query]) -> tuple[Encoded, list[int | None]]:
        """All videos and the sentences that have a known word, and the place of each sentence among them."""
        known = [query for query in queries if self.vocabulary.ids(query.sentence, 1)]
        if not known:
            raise InputError(f"none of the {len(queries)} sentences has a word that the model knows")
        lengths = self.lengths(queries)
        durations = {video: length or self._usual_length() for video, length in lengths.items()}
        rows = [Annotation(q.video, durations[q.video], q.sentence, None, None, q.qid) for q in known]
        encoded = encode(self.model, rows, self.features, self.vocabulary, self.max_num_words)
        for video, duration in durations.items():
            if video not in encoded.videos:
                encoded.videos[video] = self.model.video_vectors(self.features.read(video), duration)
        place = {query.qid: number for number, query in enumerate(known)}
        return encoded, [place.get(query.qid) for query in queries]

    def lengths(self, queries: Sequence[Query]) -> dict[str, float | None]:
        """Length of every video in seconds, from the truth or the feature file; None where neither has it."""
        known = video_lengths(queries)
        return {video: length or self.features.duration(video) for video, length in known.items()}

    def _usual_length(self) -> float:
        """Seconds that a video is taken to last whose length is not known: those of the usual training video."""
        readout = self.model.readout
        return 1.0 if readout == "anchors" else readout.duration

    def _durations(self, queries: Sequence[Query]) -> dict[str, float]:
        lengths = self.lengths(queries)
        missing = [video for video, length in lengths.items() if length is None]
        if missing:
            raise InputError(
                f"{self.features.path}: the length of {missing[0]} is not known ({len(missing)} in all), neither there "
                "nor in the truth; so videos can be ranked (--out FILE.json), and no moments found"
            )
        return {video: length for video, length in lengths.items() if length is not None}

    def calibrate(self, queries: Sequence[Query]) -> "Answerer":
        """Learn on validation sentences how sure to be that anything fits: their own video's best score against that
        of another video."""
        encoded, places = self._encode(queries)
        rng, names = np.random.default_rng(0), list(encoded.videos)
        own, other = [], []
        for query, place in zip(queries, places, strict=True):
            others = [name for name in names if name != query.video]
            if place is None or not others:
                continue
            sentence = encoded.sentences[place]
            own.append(float((encoded.videos[query.video][0] @ sentence).max()))
            other.append(float((encoded.videos[str(rng.choice(others))][0] @ sentence).max()))
        if len(own) < 2:
            raise InputError("--calibrate: sentences of at least two videos are needed to know what fits nothing")
        return replace(self, existence=Existence.between(np.array(own), np.array(other)))

    # --- over a collection --------------------------------------------------------------------------------------------

    def submit(self, queries: Sequence[Query]) -> Submission:
        """The best moments of all videos (VCMR), of each sentence's own (SVMR), and the best videos (VR).

        Where lengths of videos are not known, VR alone.
        """
        lengths = self.lengths(queries)
        durations = {video: length or self._usual_length() for video, length in lengths.items()}
        encoded, places = self._encode(queries)
        names = sorted(durations)
        number = {name: place for place, name in enumerate(names)}
        tasks: dict[str, dict[str | int, Floats]] = {"VCMR": {}, "SVMR": {}, "VR": {}}
        for query, place in zip(queries, places, strict=True):
            if place is None:
                for answers in tasks.values():
                    answers[query.qid] = np.zeros((0, 4))
                continue
            sentence = encoded.sentences[place]
            order, found = search_collection(self.model, encoded, names, durations, sentence)
            rows = [[number[name], start, end, value] for value, name, start, end in found]
            tasks["VCMR"][query.qid] = as_written(np.array(rows))
            tasks["SVMR"][query.qid] = self._own_moments(encoded, query.video, number, durations, sentence)
            tasks["VR"][query.qid] = self._videos(encoded, names, order, sentence)
        kept = tasks if all(lengths.values()) else {"VR": tasks["VR"]}
        return Submission(number, kept, {query.qid: query.sentence for query in queries})

    def _own_moments(
        self, encoded: Encoded, video: str, number: Mapping[str, int], durations: Mapping[str, float], sentence: Array
    ) -> Floats:
        vectors, spans = encoded.videos[video]
        duration = durations[video]
        found, values = rank_moments(self.model.readout, vectors @ sentence, spans, duration)
        return as_written(np.column_stack([np.full(len(values), number[video]), found * duration, values]))

    def _videos(self, encoded: Encoded, names: Sequence[str], order: NDArray[np.intp], sentence: Array) -> Floats:
        rows = [[i, 0.0, 0.0, float((encoded.videos[names[i]][0] @ sentence).max())] for i in order[:100]]
        return as_written(np.array(rows))


class _Validation(NamedTuple):
    """Sentences that a run validated on, and what they are answered from."""

    queries: list[Query]
    vocabulary: Vocabulary
    features: FeatureStore


def _validated_on(checkpoint: Checkpoint, config: Config) -> _Validation | None:
    """What a run validated on, with the run's own features; None where that is gone, or of less than two videos.

    Args:
        config: where the files of its features are to be looked for, if not where the checkpoint has them.
    """
    for named in (checkpoint.config, config):
        paths = named.dataset
        try:
            rows = validation_rows(named, checkpoint.state)
            features = FeatureStore(paths.feature_path)
            there = [row for row in rows if row.video in features]
            words = sentence_vocabulary(checkpoint.vocabulary, paths.vocab_path, there, paths.word_dim)
        except InputError:  # moved since the run, as it may be
            continue
        if len({row.video for row in there}) > 1:
            return _Validation(list(_as_queries(there)), words, features)
    return None


def _as_queries(rows: Sequence[Annotation]) -> Iterator[Query]:
    for number, group in enumerate(by_sentence(rows), 1):
        row = rows[group[0]]
        yield Query(number if row.qid is None else row.qid, row.video, row.sentence, None, row.duration)


def clip_scores(readout: Readout, scores: Array, spans: Array, count: int) -> Floats:
    """A score for every clip of two seconds.

    Args:
        readout: see `Model.readout`.
        scores: (m,) of the video's vectors.
        spans: (m, 2) in seconds.
        count: number of clips.
    """
    middles = (np.arange(count) + 0.5) * CLIP_SECONDS
    if readout == "anchors":
        return anchor_relevance(np.asarray(spans, np.float64), scores, np.asarray(middles, np.float64))
    times = spans.mean(1)
    places = np.minimum((times / CLIP_SECONDS).astype(int), count - 1)
    totals, numbers = np.bincount(places, scores, count), np.bincount(places, minlength=count)
    between = np.interp(middles, times, scores)  # where vectors are further apart than clips
    return np.asarray(np.where(numbers > 0, totals / np.maximum(numbers, 1), between))


# --- a checkpoint measured on a file of the field ---------------------------------------------------------------------


@dataclass(frozen=True)
class Measuring:
    """What is measured, and on what.

    Attributes:
        truth: annotations of any layout; None: the configuration's test split.
        out: where the answers are written: `.jsonl` predictions, `.json` a submission over the collection; None: not.
        corpus: also search all videos together.
        calibrate: validation annotations to learn from how sure to be that anything fits; None: what the run validated
            on, where a sentence is not known to have a moment.
        features: None: those of the configuration.
    """

    truth: Path | None = None
    out: Path | None = None
    corpus: bool = False
    calibrate: Path | None = None
    features: Path | None = None


def measure_checkpoint(config: Config, path: Path, wanted: Measuring, *, backend: str, device: str) -> dict[str, float]:
    """Answer the sentences of a file, write the answers, and score them as any other system's.

    Raises:
        InputError: sentences, features or the checkpoint cannot be used; all is checked before work starts.
    """
    source = str(wanted.truth or config.dataset.test_data)
    if not source:
        raise InputError("the configuration's dataset.test_data names no file; name one with --truth")
    check_out(wanted.out)
    queries = read_queries(source)
    if wanted.features is not None:
        dataset = config.dataset.model_copy(update={"feature_path": str(wanted.features)})
        config = config.model_copy(update={"dataset": dataset})
    answerer = Answerer.of_run(config, path, queries, wanted.calibrate, backend=backend, device=device)
    return _measure(answerer, queries, wanted, source)


def _measure(answerer: Answerer, queries: Sequence[Query], wanted: Measuring, source: str) -> dict[str, float]:
    kind = "" if wanted.out is None else wanted.out.suffix
    timed = all(answerer.lengths(queries).values()) and not any(query.graded for query in queries)
    figures: dict[str, float] = {}
    if kind == ".jsonl" or (timed and not kind):
        predictions = answerer.predict(queries)
        figures |= scored(queries, predictions, source)
        if wanted.out is not None:
            write_predictions(wanted.out, predictions)
    if kind == ".json" or wanted.corpus or not timed:
        submission = answerer.submit(queries)
        figures |= scored(queries, submission, source)
        if wanted.out is not None and kind == ".json":
            write_submission(wanted.out, submission)
    return figures


def scored(queries: Sequence[Query], answers: Answers, source: str) -> dict[str, float]:
    """Figures of a model's answers, or none where the truth is not known.

    Where a model does not know how sure to be that anything fits, nothing is said of its rejecting at a threshold: its
    scores are no shares of 1.
    """
    if isinstance(answers, Submission):
        return score(queries, answers, source)
    if all(query.windows is None for query in queries):
        return {}
    sure = all(answer.exist is not None for answer in answers)
    return score(queries, answers, source, THRESHOLDS if sure else ())


def check_out(out: Path | None) -> None:
    """Raise InputError for a name of which the kind of file cannot be told."""
    if out is not None and out.suffix not in (".json", ".jsonl"):
        raise InputError(f"--out {out}: .jsonl writes predictions, .json a submission over all videos; choose one")
