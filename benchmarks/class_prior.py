"""Writes what the built-in prior knows of its classes: src/cfmr/models/class_prior.json.

    python benchmarks/class_prior.py --wordnet /usr/share/wordnet [--photos DIR]

`--wordnet` is the database of WordNet 3.0 (Debian: wordnet-base), whose synsets the classes of ImageNet are: from it
come the names of the classes and of the kinds above them, and which common words are chiefly things that can be seen.
`--photos` is a folder of photographs: from it come mean and standard deviation of the network's features. The shipped
ones are of 445 photographs of animals, tools, fish, buildings and household goods, as the Debian packages
gcompris-qt-data 3.1 and opencv-doc 4.6 and the PyPI packages scikit-image, scikit-learn, ultralytics and gradio carry
them; no picture is shipped.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from cfmr.data.word_vectors import load_word_vectors
from cfmr.extractors.efficientnet_network import Network
from cfmr.models import prior

LARGEST = 150  # classes of a kind; of larger ones ("artifact", "mammal") the name says nothing of the look
THINGS = {"05", "06", "13", "17", "20"}  # WordNet's files of animals, artifacts, food, natural objects, plants
LEAST = 0.3  # share of a word's uses as a thing
PERSON = "person"  # a kind of which the classes have a groom, a diver and a ball player only
COMMON = 100_000  # of GloVe's words, those that are looked at
RARER = (1.0, 0.95, 0.9, 0.7)  # strength of a name whose first, second, third or later sense is meant
PIXELS, STEP = 256 * 192, 16  # as the extractor sees a frame


class WordNet:
    """The nouns of a WordNet 3.0 database.

    Attributes:
        lemmas: names of each synset, by its offset.
        above: its hypernyms.
        senses: of a name and a synset, the number of the sense; 1 is the most frequent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lemmas: dict[str, list[str]] = {}
        self.above: dict[str, list[str]] = {}
        self.senses: dict[tuple[str, str], int] = {}
        self._file: dict[str, str] = {}
        for fields in self._lines("data.noun"):
            offset, count = fields[0], int(fields[3], 16)
            self.lemmas[offset] = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
            self._file[offset] = fields[1]
            pointers = fields[5 + 2 * count :]
            self.above[offset] = [
                pointers[4 * i + 1] for i in range(int(fields[4 + 2 * count])) if pointers[4 * i] in ("@", "@i")
            ]
        self._first: dict[str, str] = {}
        for fields in self._lines("index.noun"):
            offsets = fields[-int(fields[2]) :]
            self._first[fields[0]] = self._file[offsets[0]]
            for number, offset in enumerate(offsets, 1):
                self.senses[fields[0].replace("_", " "), offset] = number
        self._other = {f[0] for part in ("verb", "adj", "adv") for f in self._lines(f"index.{part}")}
        self._uses = self._counted()

    def _lines(self, name: str) -> list[list[str]]:
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        return [line.partition(" | ")[0].split() for line in lines if not line.startswith(" ")]

    def _counted(self) -> dict[str, dict[bool, int]]:
        uses: dict[str, dict[bool, int]] = defaultdict(lambda: {True: 0, False: 0})
        for line in (self.folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
            key, _, count = line.split()
            word, _, sense = key.partition("%")
            part, file = sense.split(":")[:2]
            uses[word][part == "1" and file in THINGS] += int(count)
        return uses

    def as_thing(self, word: str) -> float:
        """Share of a word's uses in which it names a thing that can be seen."""
        if word in self._uses:
            uses = self._uses[word]
            return uses[True] / (uses[True] + uses[False])
        if self._first.get(word) not in THINGS:
            return 0.0
        return 0.5 if word in self._other else 1.0

    def upwards(self, offset: str) -> list[str]:
        """A synset and everything above it."""
        found = [offset]
        for one in found:
            found += [other for other in self.above[one] if other not in found]
        return found


def named_kinds(wordnet: WordNet, classes: list[str]) -> list[list[object]]:
    """Names with their strengths, and the classes they stand for, of every class and kind of classes."""
    below: dict[str, list[int]] = defaultdict(list)
    for number, synset in enumerate(classes):
        for kind in wordnet.upwards(synset):
            below[kind].append(number)
    own, rows = set(classes), list[list[object]]()
    for kind, members in sorted(below.items(), key=lambda item: item[1]):
        if len(members) <= LARGEST and PERSON not in wordnet.lemmas[kind]:
            sense = {name: wordnet.senses.get((name.lower(), kind), 9) for name in wordnet.lemmas[kind]}
            if kind in own:  # the name of a class is its name however rare that sense is
                sense = {name: min(number, 2) for name, number in sense.items()}
            rows.append([{name: RARER[min(number, len(RARER)) - 1] for name, number in sense.items()}, members])
    return rows


def features_of(folder: Path) -> np.ndarray:
    """Features (n, 1280) of every photograph in a folder."""
    network, found = Network(), []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        image = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        scale = (PIXELS / (image.width * image.height)) ** 0.5
        size = [max(round(side * scale / STEP), 1) * STEP for side in image.size]
        found.append(network(np.asarray(white.convert("RGB").resize(size, Image.BICUBIC))[None])[0][0])
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    arguments = parser.parse_args()
    known = json.loads(prior.KNOWLEDGE.read_text(encoding="utf-8"))
    wordnet = WordNet(arguments.wordnet)
    if arguments.photos:
        features = features_of(arguments.photos).astype(np.float64)
        known["mean"] = [float(f"{value:.4g}") for value in features.mean(0)]
        known["deviation"] = [float(f"{value:.4g}") for value in features.std(0)]
    common = [word for word in load_word_vectors().words[:COMMON] if word.isalpha() and len(word) > 2]
    known["things"] = sorted(word for word in common if wordnet.as_thing(word) >= LEAST)
    known["kinds"] = named_kinds(wordnet, [synset[1:] for synset in known["synsets"]])
    lines = [f"{json.dumps(key)}: {_shown(value)}" for key, value in known.items()]
    prior.KNOWLEDGE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _shown(value: object) -> str:
    """JSON; of the kinds, one a line."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(f" {json.dumps(one)}" for one in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
