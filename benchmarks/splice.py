"""Films spliced from short real scenes, for the label curve on real pixels.

    cfmr extract SCENES/ --out scenes.hdf5
    python benchmarks/splice.py --features scenes.hdf5 --names names.json --out DIR
    python benchmarks/label_curve.py --demo DIR --work WORK

SCENES has several takes of each scene, SCENE-0.mp4, SCENE-1.mp4, ...; names.json says what is seen in each,
{"SCENE": ["sentence", ...]}. A film is some seconds of each of several scenes, one after the other, spliced as
features; every scene in it is a moment with a sentence. Even takes are in the films of training, odd ones in those of
testing.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from cfmr.data.annotations import Annotation, save_annotations
from cfmr.data.features import FeatureStore, FeatureWriter

SCENES = 5  # of a film
SHORTEST, LONGEST = 3.0, 8.0  # seconds of a scene
FILMS = {"train": 80, "val": 20, "test": 40}


def takes(features: FeatureStore, names: dict[str, list[str]], odd: bool) -> dict[str, list[str]]:
    """Videos of each scene whose number is odd, or even."""
    found: dict[str, list[str]] = {}
    for video in features.videos:
        scene, _, number = Path(video).stem.rpartition("-")
        if scene in names and int(number) % 2 == odd:
            found.setdefault(scene, []).append(video)
    return found


def film(
    name: str,
    features: FeatureStore,
    scenes: dict[str, list[str]],
    names: dict[str, list[str]],
    draw: np.random.Generator,
) -> tuple[np.ndarray, float, list[Annotation]]:
    """Features of a film, its seconds, and a row for each scene in it."""
    clips, cuts = list[np.ndarray](), [0.0]
    chosen = [str(scene) for scene in draw.permutation(sorted(scenes))[:SCENES]]
    for scene in chosen:
        video = str(draw.choice(scenes[scene]))
        shown, seconds = features.read(video), features.duration(video) or 1.0
        wanted = max(1, min(len(shown), round(draw.uniform(SHORTEST, LONGEST) / seconds * len(shown))))
        start = int(draw.integers(len(shown) - wanted + 1))
        clips.append(shown[start : start + wanted])
        cuts.append(cuts[-1] + wanted * seconds / len(shown))
    rows = [
        Annotation(name, cuts[-1], str(draw.choice(names[scene])), float(draw.uniform(low, high)), (low, high))
        for scene, low, high in zip(chosen, cuts, cuts[1:], strict=False)
    ]
    return np.concatenate(clips), cuts[-1], rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names = json.loads(options.names.read_text())
    store, draw = FeatureStore(options.features), np.random.default_rng(0)
    (options.out / "annotations").mkdir(parents=True, exist_ok=True)
    with FeatureWriter(options.out / "features.hdf5", store.attributes) as writer:
        for split, count in FILMS.items():
            scenes, rows = takes(store, names, odd=split == "test"), list[Annotation]()
            for number in range(count):
                name = f"{split}-{number:03d}"
                clips, seconds, said = film(name, store, scenes, names, draw)
                writer.add(name, clips, duration=seconds)
                rows += said
            save_annotations(options.out / "annotations" / f"{split}.json", rows)
            print(f"{split}: {count} films of {len(scenes)} scenes, {len(rows)} sentences")


if __name__ == "__main__":
    main()
