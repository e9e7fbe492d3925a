"""What the campaign tries: each parser with whole files to damage, and how the project reads them."""

import json
import pickle
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cfmr.config import load_config
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.data.features import FeatureStore, FeatureWriter, write_part
from cfmr.data.layouts.predictions import read_answers
from cfmr.data.layouts.prvr import FrameFeatures
from cfmr.data.layouts.queries import read_queries
from cfmr.data.pack import pack
from cfmr.data.prepare import prepare
from cfmr.data.text_features import load_text_features
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.files.mindspore_ckpt import read_ckpt
from cfmr.files.safe_pickle import read_pickle, read_torch
from cfmr.moments.scoring import score_file

TARGETS = (
    *("config", "annotations", "charades", "activitynet", "tacos", "word-vectors", "glove-pickle", "pickle"),
    *("torch", "torch-legacy", "mindspore", "features", "features-published", "feature-parts", "arrays", "weights"),
    *("components", "checkpoint", "index", "index-own-sums", "text-encoder", "tokenizer", "metadata", "run", "records"),
    *("layouts", "answers", "sentence-features", "frame-features", "videos", "http", "labels"),
)
Read = Callable[[Path], object]


@dataclass
class Target:
    """A parser.

    Attributes:
        folder: whole files.
        files: those of them that are damaged.
        read: reads the folder as the project does.
        weight: its share of the inputs.
        prepare: what is done to the folder after the damage.
    """

    name: str
    folder: Path
    files: list[str]
    read: Read
    weight: int = 4
    prepare: Callable[[Path, random.Random], None] = lambda place, rng: None
    _contents: dict[str, bytes] = field(default_factory=dict)

    def others(self, name: str) -> list[bytes]:
        """Contents of the other files, to splice with."""
        for file in self.files:
            self._contents.setdefault(file, (self.folder / file).read_bytes())
        return [content for file, content in self._contents.items() if file != name]


def make_targets(root: Path) -> list[Target]:
    """Every target, with files that are made in `root`."""
    from tests.support.worlds import make_world

    world = make_world(root / "world", videos=6)
    makers = (_texts, _layouts, _pickles, _arrays, _videos, _models, _index, _labels, _page)
    targets = [target for make in makers for target in make(root, world)]
    assert sorted(target.name for target in targets) == sorted(TARGETS)
    return targets


def _folder(root: Path, name: str, **files: Any) -> Path:
    folder = root / name
    folder.mkdir()
    for file, content in files.items():
        path = folder / file.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


# --- configurations, annotations, published formats, word vectors -----------------------------------------------------


def _texts(root: Path, world: Any) -> list[Target]:
    config = _folder(root, "config", config__json=world.config.read_bytes())
    rows = json.dumps(
        [["a", 10.0, [1, 2.5], "the dog runs", 2.0], ["b", 31, None, "the café", 3], ["a", 9, [1, 2], "x"]]
    )
    annotations = _folder(root, "annotations", rows__json=rows)
    charades = _folder(
        root,
        "charades",
        charades_sta_train__txt="AAAA 0.0 5.1##a person opens a door.\nBBBB 2 31.0##the person sits down\n",
        Charades_v1_train__csv='id,subject,script,length\nAAAA,X,"a, b",30.1\nBBBB,Y,c,31.5\n',
        Charades_v1_test__csv="id,subject,script,length\nCCCC,X,a,12\n",
    )
    seconds = {"v_1": {"duration": 82.7, "timestamps": [[0.8, 19.8], [17.3, 60.8]], "sentences": ["a man", "he runs"]}}
    frames = {"s1.avi": {"fps": 29.4, "num_frames": 1000, "timestamps": [[10, 200]], "sentences": ["cut an onion"]}}
    activitynet = _folder(root, "activitynet", train__json=json.dumps(seconds))
    tacos = _folder(root, "tacos", train__json=json.dumps(frames), test__json=json.dumps(frames))
    vectors = _folder(
        root, "word-vectors", glove__txt="the 0.5 -1 2\nball 1 2 3\ncafé 0 0 1\n", ft__vec="2 3\na 1 2 3 \nb 4 5 6 \n"
    )
    metadata = _folder(root, "metadata", metadata__json=json.dumps({"a": {"camera": 1, "day": "x"}, "b": {}}))
    return [
        Target("config", config, ["config.json"], lambda p: load_config(p / "config.json")),
        Target("annotations", annotations, ["rows.json"], lambda p: load_annotations(p / "rows.json")),
        Target("charades", charades, sorted(f.name for f in charades.iterdir()), _prepare("charades")),
        Target("activitynet", activitynet, ["train.json"], _prepare("activitynet"), 2),
        Target("tacos", tacos, ["test.json", "train.json"], _prepare("tacos"), 2),
        Target("word-vectors", vectors, ["ft.vec", "glove.txt"], _read_vectors),
        Target("metadata", metadata, ["metadata.json"], _read_metadata, 2),
    ]


def _prepare(dataset: str) -> Read:
    def read(place: Path) -> object:
        splits = prepare(dataset, place, place / "out")
        return [load_annotations(split.path) for split in splits]

    return read


def _read_vectors(place: Path) -> object:
    for name in ("glove.txt", "ft.vec"):
        vectors = load_word_vectors(place / name)
        Vocabulary.build(["the ball", "a b"], vectors, 10)
    return load_word_vectors(place / "ft.vec", ["a"])


def _read_metadata(place: Path) -> object:
    from cfmr.index.encode import read_metadata

    return read_metadata(place / "metadata.json")


# --- layouts of the field ---------------------------------------------------------------------------------------------


def _layouts(root: Path, _: Any) -> list[Target]:
    rated = {"relevant_windows": [[0, 6]], "relevant_clip_ids": [0, 2], "saliency_scores": [[4, 4, 2], [1, 2, 3]]}
    seen = [{"qid": n, "query": "a dog", "duration": 9, "vid": f"v{n}", **rated, "glances": [3.0]} for n in (1, 2)]
    told = {"vid_name": "v", "duration": 9, "ts": [1.5, 8], "desc": "a dog", "type": "v", "desc_id": 1}
    graded = {"query_id": 1, "query": "a dog", "video_name": "v", "timestamp": [1, 2], "duration": 9.0, "relevance": 4}
    glances = {"v": {"duration": 9.0, "timestamps": [[0, 4]], "sentences": ["a dog"], "glance": [1]}}
    frames = {"timestamps": [[30, 60]], "sentences": ["a dog"], "fps": 30.0, "num_frames": 300, "glances": [45]}
    layouts = _folder(
        root,
        "layouts",
        qvhighlights__jsonl="".join(json.dumps(one) + "\n" for one in seen),
        tvr__jsonl=json.dumps(told) + "\n",
        ranking__jsonl=json.dumps(graded) + "\n" + json.dumps(graded | {"video_name": "w"}) + "\n",
        captions__txt="v1#enc#0 a dog runs\nv1#enc#1 a cat\n",
        viga__json=json.dumps(glances),
        d3g__json=json.dumps({"s.avi": frames}),
        rows__json=json.dumps([["v", 9.0, [0, 4], "a dog", 1.0, 1], ["v", 9.0, [], "a cat", None, 2]]),
    )
    found = {"pred_relevant_windows": [[0, 5, 0.9]], "pred_saliency_scores": [0.1] * 5, "pred_exist_score": 0.5}
    task = [{"desc_id": 1, "desc": "", "predictions": [[0, 1, 2, 0.5], [0, 3, 4, 0.1]]}]
    answers = _folder(
        root,
        "answers",
        hl__jsonl="".join(json.dumps({"qid": n, "query": "a dog", "vid": f"v{n}", **found}) + "\n" for n in (1, 2)),
        tvr__json=json.dumps({"video2idx": {"v": 0}, "VCMR": task, "SVMR": task, "VR": task}),
        truth__jsonl="".join(json.dumps(one) + "\n" for one in seen),
        told__jsonl=json.dumps(told) + "\n",
    )
    sentences = root / "sentences"
    (sentences / "text").mkdir(parents=True)
    tokens = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(sentences / "text" / "qid7.npz", last_hidden_state=tokens[None], pooler_output=tokens[0])
    np.savez_compressed(sentences / "text" / "a_0.npz", last_hidden_state=tokens[:2].astype(np.float16))
    with h5py.File(sentences / "text.hdf5", "w") as file:
        file["7"], file["a_0"] = tokens, tokens[:2]
    frame_features = _folder(
        root,
        "frame-features",
        feature__bin=np.arange(12, dtype="<f4").tobytes(),
        id__txt="v1_0 v1_1 v2_0 v2_1",
        shape__txt="4 3\n",
        video2frames__txt="{'v1': ['v1_0', 'v1_1'], 'v2': ['v2_1']}",
    )
    files = [str(path.relative_to(sentences)) for path in sorted(sentences.rglob("*.*"))]
    return [
        Target("layouts", layouts, sorted(f.name for f in layouts.iterdir()), _read_layouts, 8),
        Target("answers", answers, sorted(f.name for f in answers.iterdir()), _read_answers, 8),
        Target("sentence-features", sentences, files, _read_sentences, 4),
        Target("frame-features", frame_features, sorted(f.name for f in frame_features.iterdir()), _read_frames, 4),
    ]


def _refused(read: Callable[[], object]) -> InputError | None:
    try:
        read()
    except InputError as error:
        return error
    return None


def _all(*reads: Callable[[], object]) -> None:
    """Read in several ways, each of which may refuse; the first refusal is raised."""
    for error in [error for read in reads if (error := _refused(read)) is not None]:
        raise error


def _read_layouts(place: Path) -> None:
    """As sentences to measure with; as annotations to train with and prepared, which some of them cannot be."""
    files = sorted(place.iterdir())
    for path in files:
        raw = place / path.stem
        raw.mkdir()
        shutil.copy(path, raw / f"train{path.suffix}")
        _refused(partial(load_annotations, path))
        _refused(partial(prepare, "mine", raw, raw / "out"))
    _all(*(partial(read_queries, path) for path in files))


def _read_answers(place: Path) -> None:
    _all(
        lambda: score_file(place / "truth.jsonl", place / "hl.jsonl"),
        lambda: score_file(place / "told.jsonl", place / "tvr.json"),
        lambda: read_answers(place / "tvr.json"),
    )


def _read_sentences(place: Path) -> None:
    rows = [Annotation("v", 10.0, "a dog", 1.0, None, 7), Annotation("v", 10.0, "a cat", 1.0, None, "a_0")]
    _all(
        lambda: load_text_features(str(place / "text"), rows, 4),
        lambda: load_text_features(f"{place / 'text'}#last_hidden_state", rows, 4),
        lambda: load_text_features(str(place / "text.hdf5"), rows, 4),
    )


def _read_frames(place: Path) -> object:
    frames = FrameFeatures(place)
    return [frames.read(video) for video in frames.videos]


# --- videos -----------------------------------------------------------------------------------------------------------


def _videos(root: Path, _: Any) -> list[Target]:
    from tests.support.footage import write_film

    folder = root / "videos"
    mpeg = {"bf": "2", "g": "4"}
    for name, codec, sound, options in (
        ("a.mp4", "libx264", "aac", {"bf": "2", "g": "4"}),
        ("a.mkv", "libx264", None, {"g": "4"}),
        ("a.ts", "libx264", None, {"g": "4"}),
        ("a.webm", "libvpx", None, {"g": "4", "deadline": "realtime"}),
        ("a.avi", "mpeg4", None, mpeg),
        ("a.mpg", "mpeg2video", "mp2", mpeg),
        ("a.flv", "flv", None, {"g": "4"}),
        ("a.mov", "mjpeg", None, {}),
        ("a.wmv", "wmv2", None, {"g": "4"}),
        ("b.mp4", "libx265", None, {"x265-params": "log-level=error:keyint=4"}),
    ):
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_film(folder / name, codec, frames=10, pixels=pixels, sound=sound, **options)
    return [Target("videos", folder, sorted(f.name for f in folder.iterdir()), _Watched(), 12)]


class _Watched:
    """Reads of a folder of videos the one that was damaged, as extraction, stills and clips do."""

    def __init__(self) -> None:
        self.whole: dict[str, bytes] = {}

    def __call__(self, place: Path) -> object:
        from cfmr.video.clip import cut, thumbnail
        from cfmr.video.decode import Video, probe

        paths = sorted(place.iterdir())
        if not self.whole:
            folder = place.parent.parent / "videos"
            self.whole = {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}
        for path in [p for p in paths if p.read_bytes() != self.whole.get(p.name)]:
            with Video(path) as video:
                for frame in islice(video.frames(fps=4), 50):
                    frame.rgb(32, 24)
            probe(path)
            thumbnail(path, 0.2)
            _refused(partial(cut, path, 0.1, 0.3, place / "cut.mp4"))
        return None


# --- pickles, checkpoints of others -----------------------------------------------------------------------------------


def _pickles(root: Path, _: Any) -> list[Target]:
    import torch

    from cfmr.models.convert import convert
    from tests.files.test_mindspore_ckpt import content

    words = ["the", "ball"]
    glove = {"w2id": {w: i for i, w in enumerate(words)}, "id2vec": np.ones((2, 3)), "counter": {"the": 3, "ball": 1}}
    mixed = {"a": [1, 2.5, None, True], "b": np.arange(6.0).reshape(2, 3), "c": ("x", {1, 2}), "d": np.float32(3)}
    folder = _folder(root, "pickles", glove__pkl=pickle.dumps(glove), mixed__pkl=pickle.dumps(mixed, 2))
    (folder / "old.pkl").write_bytes(pickle.dumps(mixed, 0))
    state = {"model_parameters": {"frame_fc.weight": torch.ones(4, 3), "x.bias": torch.zeros(2)}, "num_updates": 3}
    torches = root / "torches"
    torches.mkdir()
    torch.save(state, torches / "new.pt")
    torch.save(state, torches / "old.pt", _use_new_zipfile_serialization=False)
    tensors = {"frame_fc.weight": np.ones((4, 3), np.float32), "step": np.array(3, np.int32)}
    ckpt = _folder(root, "mindspore", model__ckpt=content(tensors))

    def converted(name: str) -> Read:
        def read(place: Path) -> object:
            read_torch(place / name)
            return convert(place / name)

        return read

    def mindspore(place: Path) -> object:
        read_ckpt(place / "model.ckpt")
        return convert(place / "model.ckpt")

    def original(place: Path) -> object:
        vectors = load_word_vectors(place / "glove.pkl")
        return Vocabulary.original(vectors, 5), Vocabulary.build(["the ball"], vectors, 5)

    return [
        Target("glove-pickle", folder, ["glove.pkl"], original),
        Target(
            "pickle",
            folder,
            ["mixed.pkl", "old.pkl"],
            lambda p: (read_pickle(p / "mixed.pkl"), read_pickle(p / "old.pkl")),
        ),
        Target("torch", torches, ["new.pt"], converted("new.pt")),
        Target("torch-legacy", torches, ["old.pt"], converted("old.pt")),
        Target("mindspore", ckpt, ["model.ckpt"], mindspore),
    ]


# --- features and arrays ----------------------------------------------------------------------------------------------


def _arrays(root: Path, _: Any) -> list[Target]:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    clips = rng.standard_normal((20, 6)).astype(np.float32)
    ours, published = root / "features", root / "published"
    ours.mkdir()
    with FeatureWriter(ours / "f.hdf5", {"extractor": "made-up", "version": 1, "fps": 4.0}) as writer:
        for name in ("a", "b/c", "d"):
            writer.add(name, clips, duration=10.0, path="/videos/a.mp4")
    published.mkdir()
    with h5py.File(published / "f.hdf5", "w") as file:
        for name in ("a", "b"):
            file.create_dataset(f"{name}/c3d_features", data=clips, chunks=(5, 6), compression="gzip")
        file["a"].attrs["duration"] = 3.0
    with h5py.File(published / "flat.hdf5", "w") as file:
        file["a"], file["b"], file["fps"], file["names"] = clips, clips.astype("f8"), 25, ["x", "y"]
    parts = root / "feature-parts"
    (parts / "f.hdf5.parts").mkdir(parents=True)
    (parts / "f.hdf5.parts" / "attributes.json").write_text(json.dumps({"extractor": "x"}))
    part = write_part(parts / "f.hdf5.parts", "a", clips, duration=3.0)
    arrays = root / "arrays"
    arrays.mkdir()
    np.save(arrays / "a.npy", clips)
    np.savez(arrays / "b.npz", features=clips)
    np.savez_compressed(arrays / "c.npz", features=clips)
    weights = root / "weights"
    weights.mkdir()
    save_file({"conv.weight": clips, "conv.bias": clips[0]}, weights / "w.safetensors")
    components = {"mean": clips[0], "directions": clips[:2], "share": np.array([0.5])}
    save_file(components, weights / "pca.safetensors")
    return [
        Target("features", ours, ["f.hdf5"], _read_features, 8),
        Target("features-published", published, ["f.hdf5", "flat.hdf5"], _read_features, 8),
        Target("feature-parts", parts, [f"f.hdf5.parts/{n}" for n in ("attributes.json", part.name)], _read_parts, 2),
        Target("arrays", arrays, ["a.npy", "b.npz", "c.npz"], lambda p: pack(p, p / "out.hdf5"), 6),
        Target("weights", weights, ["w.safetensors"], _read_weights, 2),
        Target("components", weights, ["pca.safetensors"], _read_components, 2),
    ]


def _read_features(place: Path) -> object:
    for path in sorted(place.glob("*.hdf5")):
        with FeatureStore(path) as store:
            for video in store.videos:
                store.duration(video)
                store.read(video)
        pack(path, place / "out.hdf5")
        (place / "out.hdf5").unlink()
    return None


def _read_parts(place: Path) -> object:
    with FeatureWriter(place / "f.hdf5", {"extractor": "x"}) as writer:
        return writer.videos


def _read_weights(place: Path) -> object:
    from cfmr.extractors.windows import read_weights

    return read_weights(place / "w.safetensors")


def _read_components(place: Path) -> object:
    from cfmr.extractors.pca import Components

    return Components.load(place / "pca.safetensors")


# --- checkpoints and indexes ------------------------------------------------------------------------------------------


def _models(root: Path, world: Any) -> list[Target]:
    from cfmr.models.base import load_model
    from cfmr.models.checkpoint import Checkpoint
    from cfmr.report.finished_run import read_runs
    from tests.support.searchable import save_checkpoint

    folder = root / "checkpoint"
    save_checkpoint(world, folder)

    def read(place: Path) -> object:
        checkpoint = Checkpoint.load(place)
        model = load_model(checkpoint)
        return model.video_vectors(np.ones((5, checkpoint.config.dataset.frame_dim), np.float32))

    def without_sums(place: Path, rng: random.Random) -> None:
        if rng.random() < 0.7:
            path = place / "state.json"
            try:
                state = json.loads(path.read_bytes())
                state.pop("crc32", None)
                path.write_text(json.dumps(state))
            except (ValueError, AttributeError, TypeError, RecursionError):
                return

    line = {"epoch": 1, "loss": 1.5, "step": 4, "validation": {"R@1,IoU=0.5": 12.5, "R@1,mIoU": 20.1}}
    figures = {"epoch": 1, "selected_on": "validation", "test": {"R@1,IoU=0.5": 10.0}, "sentences": 3, "videos": 2}
    run = _folder(
        root,
        "run",
        config__json=world.config.read_bytes(),
        metrics__json=json.dumps(figures),
        metrics__jsonl=json.dumps(line) + "\n" + json.dumps(line) + "\n",
    )
    files = sorted(f.name for f in folder.iterdir())
    return [
        Target("checkpoint", folder, files, read, 6, without_sums),
        Target("run", run, sorted(f.name for f in run.iterdir()), lambda p: read_runs([p]), 2),
    ]


def _index(root: Path, world: Any) -> list[Target]:
    from tests.support.searchable import Searchable

    folder = root / "index"
    Searchable(world, root / "checkpoint", folder).build()
    files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and f.name != "lock")
    encoder = [name for name in files if name.endswith("text.onnx")]
    tokenizer = root / "tokenizer"
    _make_tokenizer(tokenizer)
    return [
        Target("index", folder, files, _read_index, 4),
        Target("index-own-sums", folder, files, _read_index, 12, _right_sums),
        Target("text-encoder", folder, encoder, _read_index, 8, _right_sums),
        Target("tokenizer", tokenizer, ["tokenizer.json"], _read_tokens, 2),
    ]


def _read_index(place: Path) -> object:
    from cfmr.index.open import open_writer
    from cfmr.search.retriever import MomentRetriever

    retriever = MomentRetriever.load(place)
    for sentence in ("the dog runs", "a bird"):
        retriever.search(sentence, top=3)
    for video in retriever.videos()[:2]:
        retriever.curve("the dog", video.id)
    with open_writer(place) as writer:
        writer.remove([next(iter(writer.videos))])
        writer.commit()
    return None


def _right_sums(place: Path, rng: random.Random) -> None:
    """Sizes and checksums become those of the files as they are, as someone who means harm would make them."""
    path = place / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        manifest.pop("checksum", None)
        for part in [manifest["model"], *manifest["segments"]]:
            for name in part["files"]:
                content = (place / part["directory"] / name).read_bytes()
                part["files"][name] = [len(content), zlib.crc32(content)]
        text = json.dumps(manifest, sort_keys=True, ensure_ascii=False)
        path.write_text(json.dumps(manifest | {"checksum": zlib.crc32(text.encode())}))
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError):
        return


def _make_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "dog": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def _read_tokens(place: Path) -> object:
    from cfmr.index.token_encoder import TokenEncoder

    return TokenEncoder(place, 20).ids("the dog runs")


# --- the page ---------------------------------------------------------------------------------------------------------


def _labels(root: Path, _: Any) -> list[Target]:
    """Labels as every tool writes them."""
    from cfmr.data.annotations import Annotation
    from cfmr.handover.labels.read import read_labels
    from cfmr.handover.labels.rows import Given
    from cfmr.handover.labels.write import LABEL_FORMATS, write_labels
    from tests.handover.labels.site import SITE
    from tests.handover.labels.test_read import CVAT

    said = [Annotation("kitchen", 60.0, "a dog & a cat", 2.0, (1.0, 3.0)), Annotation("kitchen", 60.0, "b", 4.0, None)]
    files = {f"kitchen{form.suffix}": next(iter(write_labels(said, form, SITE).values())) for form in LABEL_FORMATS}
    files["kitchen.cvat.xml"] = CVAT.format(start=0, step="")
    folder = _folder(root, "labels", **files)

    def read(place: Path) -> object:
        return [read_labels(path.read_bytes(), Given(SITE, path.name)) for path in sorted(place.iterdir())]

    return [Target("labels", folder, sorted(files), read, 6)]


def _page(root: Path, _: Any) -> list[Target]:
    from cfmr.server.stores.jobs import Jobs

    job = {"id": "0123456789ab", "kind": "learn", "title": "Learn", "state": "done", "created": 1.0, "result": {"a": 1}}
    records = root / "records"
    (records / "jobs" / "0123456789ab").mkdir(parents=True)
    (records / "jobs" / "0123456789ab" / "job.json").write_text(json.dumps(job))
    bodies = {
        "import.json": [["kitchen", 6.0, None, "a red square", 1.0], ["street", 6.0, [1, 2], "a blue square", 1.5]],
        "labels.json": {"video": "kitchen", "glance": 1.0, "sentence": "a red square moves", "author": "Ann"},
        "learn.json": {"with_original": False},
        "session.json": {"token": "x"},
    }
    http = _folder(root, "http", **{name.replace(".", "__"): json.dumps(body) for name, body in bodies.items()})

    def read_records(place: Path) -> object:
        jobs = Jobs(place / "jobs")
        return [jobs.log(job.id) for job in jobs.all()]

    return [
        Target("records", records, ["jobs/0123456789ab/job.json"], read_records, 2),
        Target("http", http, sorted(bodies), _Requests(root), 10),
    ]


class _Requests:
    """Sends the bodies to a server; anything but an answer below 500, other than 507, is a fault."""

    PATHS = {
        "import.json": "/api/labels/import",
        "labels.json": "/api/labels",
        "learn.json": "/api/learn",
        "session.json": "/api/session",
    }

    def __init__(self, root: Path) -> None:
        self.root = root
        self.client: Any = None

    def __call__(self, place: Path) -> object:
        if self.client is None:
            self.client = self._start()
        for name, path in self.PATHS.items():
            answer = self.client.post(
                path, content=(place / name).read_bytes(), headers={"content-type": "application/json"}
            )
            if answer.status_code >= 500:
                raise AssertionError(f"{path} answers {answer.status_code} {answer.text[:300]}")
        return None

    def _start(self) -> Any:
        from starlette.testclient import TestClient

        from cfmr.server.app import create_app, open_state
        from tests.server.sites import WordRetriever, make_settings

        folder = self.root / "site"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        state = open_state(make_settings(folder), lambda path: WordRetriever())
        return TestClient(create_app(state), "http://127.0.0.1:8000")  # not started: no job runs
