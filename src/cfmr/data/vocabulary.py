"""Sentences as words: tokens, a model's vocabulary, forms and spellings of a word, signs of another language."""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.word_vectors import _COMMON, WordVectors, load_word_vectors
from cfmr.errors import InputError

# Words and numbers in any script; "person's" and "doesn't" split as in GloVe's and the original's vocabularies.
_TOKEN = re.compile(r"[^\W_]+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|[^\W_]+")
_JOINERS = "\u200c\u200d"  # zero-width, between letters of Persian and Indic words
_VARIATIONS = re.compile("[\ufe00-\ufe0f]")  # how a sign is drawn, as an emoji for one


def tokenize(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation, in the composed form of Unicode (NFC)."""
    if sentence.isascii():  # then all of what follows changes nothing, and takes most of the time
        return _TOKEN.findall(sentence.lower())
    text = sentence.lower().replace("\u2019", "'")
    return find_words(_TOKEN, unicodedata.normalize("NFC", _VARIATIONS.sub("", text)))


def find_words(pattern: re.Pattern[str], text: str) -> list[str]:
    """What a pattern of letters finds, where signs that belong to the letter before them count as letters.

    Those are the vowel signs of Indic scripts and Thai, the points of Arabic and Hebrew, and accents that stand alone;
    for `re` a word ends before each of them.
    """
    if text.isascii():
        return pattern.findall(text)
    letters: list[str] = []
    for sign in text:
        belongs = sign in _JOINERS or unicodedata.category(sign) in ("Mn", "Mc")
        letters.append("a" if belongs and letters and letters[-1].isalnum() else sign)
    return [text[found.start() : found.end()] for found in pattern.finditer("".join(letters))]


# --- a model's vocabulary ---------------------------------------------------------------------------------------------


class Vocabulary:
    """The words that a model knows, by falling frequency. Id 0 is padding, id i + 1 is `words[i]` (Method, Inputs).

    Attributes:
        words: list of V - 1 words.
        vectors: (V, dim) float32; row 0 is zeros.
    """

    def __init__(self, words: Sequence[str], vectors: NDArray[np.float32]) -> None:
        if len(vectors) != len(words) + 1:
            raise InputError(f"a vocabulary of {len(words)} words needs {len(words) + 1} vectors, got {len(vectors)}")
        self.words, self.vectors = list(words), vectors
        self._ids = {word: number for number, word in enumerate(self.words, 1)}

    @classmethod
    def build(cls, sentences: Iterable[str], word_vectors: WordVectors, size: int) -> "Vocabulary":
        """The `size` most frequent words of the sentences that have a vector; ties go to the word that came first."""
        counts = Counter(word for sentence in sentences for word in tokenize(sentence))
        words = [word for word, _ in counts.most_common()]
        rows = word_vectors.rows(words)
        return cls._of([word for word, row in zip(words, rows, strict=True) if row >= 0][:size], word_vectors)

    @classmethod
    def original(cls, word_vectors: WordVectors, size: int) -> "Vocabulary":
        """The vocabulary that the original release makes of its `glove.pkl`: the `size` words counted most often in it.

        Raises:
            InputError: the vectors come without counts.
        """
        if word_vectors.counts is None:
            raise InputError("the original's vocabulary needs its glove.pkl, these word vectors come without counts")
        ranked = sorted(word_vectors.counts, key=lambda word: -word_vectors.counts[word])  # type: ignore[index]
        return cls._of([word for word in ranked if word in word_vectors][:size], word_vectors)

    @classmethod
    def _of(cls, words: list[str], word_vectors: WordVectors) -> "Vocabulary":
        padding = np.zeros((1, word_vectors.dim), np.float32)
        return cls(words, np.concatenate([padding, word_vectors.of(words)]))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def ids(self, sentence: str, max_words: int) -> list[int]:
        """Ids of the first `max_words` known words of a sentence; unknown words are dropped."""
        return [self._ids[word] for word in tokenize(sentence) if word in self._ids][:max_words]

    def kept(self) -> "Vocabulary":
        """What a checkpoint keeps of it."""
        return self

    def check(self, annotations: Sequence[Annotation], path: str | os.PathLike[str]) -> None:
        """Raise InputError for the first sentence without a known word, naming `path` and its row."""
        for number, annotation in enumerate(annotations, 1):
            if not self.ids(annotation.sentence, 1):
                raise InputError(
                    f"{path}: row {number} ({annotation.video}) has no known word in {annotation.sentence!r}; "
                    "correct it or leave it out"
                )


# --- languages --------------------------------------------------------------------------------------------------------

FUNCTION_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being but by can could did do does
    doing for from had has have having he her here hers him his i if in into is it its itself just me might
    more most my no nor not of on only or our ours own s she should so some somebody someone something such t
    than that the their theirs them then there these they this those to too very was we were what when where
    which while who whom whose why will with would you your yours n't 's 're 've 'll 'd 'm""".split()  # noqa: SIM905
)
# Frequent little words that English lacks; one of them and no English one make a sentence foreign.
_FOREIGN = {
    language: frozenset(words.split())
    for language, words in {
        "French": "un une le la les des du est et dans avec sur qui au aux elle il en deux pour se",
        "German": "der die das ein eine einen einem einer und ist im den dem auf mit von zu sich sie er läuft",
        "Spanish": "el la los las un una unos unas y es en del con que se por para al",
        "Italian": "il lo la gli le un una uno e è di del della che con nel si per da",
        "Portuguese": "o os um uma uns umas e é em do da dos das com que no na se por ao",
        "Dutch": "de het een en van op met zijn is naar dat die te aan",
        "Polish": "w z na jest się i do że to nie",
        "Swedish": "en ett och är på med som den det av till",
    }.items()
}


def foreign_language(tokens: Sequence[str]) -> str | None:
    """What language a sentence seems to be in by its little words, for a message; None where it may be English."""
    words = set(tokens)
    if words & FUNCTION_WORDS - set().union(*_FOREIGN.values()):
        return None
    counts = {language: len(words & little) for language, little in _FOREIGN.items()}
    most = max(counts.values())
    likely = [language for language, count in counts.items() if count == most]
    return None if not most else likely[0] if len(likely) == 1 else "another language"


# --- unknown words ----------------------------------------------------------------------------------------------------

_IRREGULAR = {
    form: base
    for base, forms in {
        "be": "am are is was were been being",
        "begin": "began begun",
        "bend": "bent",
        "bite": "bit bitten",
        "blow": "blew blown",
        "break": "broke broken",
        "bring": "brought",
        "build": "built",
        "buy": "bought",
        "catch": "caught",
        "child": "children",
        "come": "came",
        "do": "does did done",
        "draw": "drew drawn",
        "drink": "drank drunk",
        "drive": "drove driven",
        "eat": "ate eaten",
        "fall": "fell fallen",
        "feed": "fed",
        "fight": "fought",
        "find": "found",
        "fly": "flew flown",
        "foot": "feet",
        "get": "got gotten",
        "give": "gave given",
        "go": "goes went gone",
        "goose": "geese",
        "grow": "grew grown",
        "hang": "hung",
        "have": "has had",
        "hear": "heard",
        "hide": "hid hidden",
        "hold": "held",
        "keep": "kept",
        "knife": "knives",
        "leaf": "leaves",
        "light": "lit",
        "make": "made",
        "man": "men",
        "meet": "met",
        "mouse": "mice",
        "ride": "rode ridden",
        "ring": "rang rung",
        "rise": "rose risen",
        "run": "ran running",
        "say": "said",
        "see": "saw seen",
        "sell": "sold",
        "send": "sent",
        "shake": "shook shaken",
        "shelf": "shelves",
        "shoot": "shot",
        "show": "showed shown",
        "sing": "sang sung",
        "sink": "sank sunk",
        "sit": "sat sitting",
        "sleep": "slept",
        "slide": "slid",
        "speak": "spoke spoken",
        "spin": "spun",
        "stand": "stood",
        "steal": "stole stolen",
        "swim": "swam swum",
        "swing": "swung",
        "take": "took taken",
        "teach": "taught",
        "tear": "tore torn",
        "tell": "told",
        "throw": "threw thrown",
        "tooth": "teeth",
        "wear": "wore worn",
        "wolf": "wolves",
        "woman": "women",
        "write": "wrote written",
    }.items()
    for form in forms.split()
}
_ENDINGS = (("ies", "y"), ("ing", "e"), ("ing", ""), ("ied", "y"), ("ed", "e"), ("ed", ""), ("es", ""), ("s", ""))
_SHORTEST_BASE = 3
ALIKE = 0.5  # cosine below which two forms of one spelling are two words ("goods" and "good")
TYPO = 0.7  # share of letters in common from which a word without a vector may be a misspelling, at most one longer


@lru_cache(maxsize=1 << 15)
def base_forms(word: str) -> tuple[str, ...]:
    """What an English word may be a form of, itself first: "running" of "running", "runne", "runn" and "run"."""
    found = [word, *([_IRREGULAR[word]] if word in _IRREGULAR else [])]
    for ending, instead in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or word.endswith("ss") or not re.search("[aeiouy]", stem):
            continue
        stems = [stem + instead]
        if not instead and len(stem) > _SHORTEST_BASE and stem[-1] == stem[-2]:  # "running"
            stems.append(stem[:-1])
        found += [one for one in stems if len(one) >= _SHORTEST_BASE]
    return tuple(dict.fromkeys(found))


def same_word(word: str, known: Sequence[str], vectors: WordVectors | None = None) -> str | None:
    """The word of `known` that may stand for another: a form of the same word, or what was meant by a misspelling.

    Likeness of word vectors is no reason: of the pairs of an unknown word and the nearest of 232 known ones, a tenth
    have the same or a wider meaning by WordNet, even at cosines above 0.9 ("dog" and "cat", "slow" and "fast").

    Args:
        word: a word that is not in `known`.
        known: the words of a vocabulary.
        vectors: which words there are, and how alike; the default vectors if None.
    """
    word = word.lower()
    vectors = load_word_vectors() if vectors is None else vectors
    own = set(base_forms(word))
    for other in known:
        if own.intersection(base_forms(other)) and _alike(word, other, vectors):
            return other
    return intended_word(word, known, vectors)


def intended_word(word: str, known: Sequence[str], vectors: WordVectors | None = None) -> str | None:
    """The word of `known` that a misspelling stands for; None if it is none, or stands for no such word."""
    word = word.lower()
    vectors = load_word_vectors() if vectors is None else vectors
    if vectors.row.get(word, _COMMON) < _COMMON or len(word) <= _SHORTEST_BASE:  # a word of its own, or too short
        return None
    like = [one for one in known if one[:1] == word[:1] and abs(len(one) - len(word)) <= 1]
    spelled = difflib.get_close_matches(word, like, 1, cutoff=TYPO)
    return spelled[0] if spelled else None


def _alike(word: str, other: str, vectors: WordVectors) -> bool:
    if word not in vectors or other not in vectors:
        return True
    one, two = vectors[word], vectors[other]
    return float(one @ two) >= ALIKE * float(np.linalg.norm(one) * np.linalg.norm(two))
