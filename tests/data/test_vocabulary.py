import pickle
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cfmr.data.vocabulary
from cfmr.data.annotations import Annotation
from cfmr.data.vocabulary import Vocabulary, base_forms, foreign_language, same_word, tokenize
from cfmr.data.word_vectors import WordVectors, load_word_vectors
from cfmr.errors import InputError
from cfmr.models.cfmr.masking import masking_weights

TEXT = "the 0.5 -1 2e-1\nball 1 2 3\n. . . 9 9 9\ncafé 0 0 1\n"


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and nothing remembered from earlier tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cfmr.data.word_vectors._packaged_vectors.cache_clear()
    yield tmp_path
    cfmr.data.word_vectors._packaged_vectors.cache_clear()


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("A person is putting a book on a shelf.", ["a", "person", "is", "putting", "a", "book", "on", "a", "shelf"]),
        (
            "the person's dog doesn't bark, they're out",
            ["the", "person", "'s", "dog", "does", "n't", "bark", "they", "'re", "out"],
        ),
        ("It’s 2 t-shirts!", ["it", "'s", "2", "t", "shirts"]),
        ("CAFÉ naïve", ["café", "naïve"]),
        ("लड़का दरवाज़ा खोलता है।", [nfc(word) for word in ("लड़का", "दरवाज़ा", "खोलता", "है")]),
        ("เด็กผู้ชายเปิดประตู", ["เด็กผู้ชายเปิดประตู"]),
        ("فَتَحَ الوَلَدُ البابَ", ["فَتَحَ", "الوَلَدُ", "البابَ"]),
        ("می\u200cرود", ["می\u200cرود"]),
        ("cafe\u0301 \u0301 ❤\ufe0f 1\ufe0f\u20e3", ["café", "1"]),
        (" ...!? ", []),
        ("", []),
    ],
)
def test_a_sentence_becomes_words(sentence: str, tokens: list[str]) -> None:
    assert tokenize(sentence) == tokens


@given(st.text())
def test_composed_and_decomposed_text_has_the_same_words(sentence: str) -> None:
    assert tokenize(nfc(sentence)) == tokenize(unicodedata.normalize("NFD", sentence))


@given(st.text())
def test_tokens_are_stable(sentence: str) -> None:
    tokens = tokenize(sentence)
    assert all(token and token == token.strip() for token in tokens)
    assert tokenize(" ".join(tokens)) == tokens


@pytest.mark.parametrize(
    "content",
    [
        b"2 3\nball 1 2 3 \nred 4 5 6 \n",  # word2vec and fastText
        b"ball 1 2 3 \r\nred 4 5 6 \r\n",
        b"\xef\xbb\xbfball 1 2 3\nred 4 5 6",
    ],
)
def test_blanks_at_line_ends_and_a_byte_order_mark_are_no_part_of_a_vector(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.vec").write_bytes(content)
    for wanted in (None, ["ball", "red"]):
        vectors = load_word_vectors(tmp_path / "v.vec", wanted)
        assert {word: vector.tolist() for word, vector in vectors.items()} == {"ball": [1, 2, 3], "red": [4, 5, 6]}


def test_words_of_a_text_file_are_found_in_either_form(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(unicodedata.normalize("NFD", "café 1 2 3\nété 4 5 6\n"), encoding="utf-8")
    assert load_word_vectors(tmp_path / "v.txt", ["café"]).words == ["café"]
    assert load_word_vectors(tmp_path / "v.txt").words == ["café", "été"]


@pytest.mark.parametrize("number", ["nan", "inf", "1e39"])
def test_a_vector_that_is_not_finite_is_named(tmp_path: Path, number: str) -> None:
    (tmp_path / "v.txt").write_text(f"ball 1 2 3\nred 1 {number} 3\n")
    with pytest.raises(InputError, match=r"v\.txt: line 2 has a number that is infinite"):
        load_word_vectors(tmp_path / "v.txt")


def test_a_text_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(TEXT, encoding="utf-8")
    vectors = load_word_vectors(path)
    assert vectors.words == ["the", "ball", ". . .", "café"]
    assert vectors["ball"].tolist() == [1, 2, 3]
    assert vectors["the"].dtype == np.float32
    assert (vectors.dim, len(vectors), "café" in vectors, "cafe" in vectors) == (3, 4, True, False)


def test_of_a_text_file_only_wanted_words_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("4 3\n" + TEXT, encoding="utf-8")  # word2vec's first line
    vectors = load_word_vectors(path, wanted={"ball", ".", "missing", "café"})
    assert vectors.words == ["ball", "café"]
    assert vectors.of(["café", "ball"]).tolist() == [[0, 0, 1], [1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("the 1 2 3\nball 1 2\n", "line 2 "),
        ("the 1 2 3\nball 1 x 3\n", "line 2 is not a word and its vector"),
        ("just text\nmore text here\n", "line 2"),
        ("", "no word vector"),
    ],
)
def test_a_broken_text_file_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says) as error:
        load_word_vectors(path)
    assert str(path) in str(error.value)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'glove-6b-50d', a GloVe text file or a"):
        load_word_vectors(tmp_path / "none.txt")


def original(tmp_path: Path) -> Path:
    path = tmp_path / "glove.pkl"
    words = {"<PAD>": 0, "ball": 1, "the": 2, "red": 3}
    vectors = [np.full(2, number, np.float32) for number in range(4)]
    path.write_bytes(pickle.dumps({"w2id": words, "id2vec": vectors, "counter": Counter(the=9, red=2, ball=2)}))
    return path


def test_the_vocabulary_of_the_original_is_made_from_its_counts(tmp_path: Path) -> None:
    vectors = load_word_vectors(original(tmp_path))
    vocabulary = Vocabulary.original(vectors, 2)
    assert vocabulary.words == ["the", "red"]
    assert vocabulary.vectors.tolist() == [[0, 0], [2, 2], [3, 3]]
    with pytest.raises(InputError, match="without counts"):
        Vocabulary.original(WordVectors(["a"], np.ones((1, 2), np.float32)), 1)


@pytest.mark.parametrize(
    "content", [[1], {"w2id": {}}, {"w2id": {"a": 5}, "id2vec": [[1.0, 2.0]]}, {"w2id": 1, "id2vec": [[1]]}]
)
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: object) -> None:
    path = tmp_path / "glove.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"glove\.pkl"):
        load_word_vectors(path)


def test_a_vocabulary_holds_the_most_frequent_words_with_a_vector() -> None:
    vectors = WordVectors(["red", "ball", "a", "blue"], np.arange(8, dtype=np.float32).reshape(4, 2))
    vocabulary = Vocabulary.build(["A red ball.", "a blue ball", "a xyzzy xyzzy"], vectors, 3)
    assert vocabulary.words == ["a", "ball", "red"]
    assert vocabulary.vectors.tolist() == [[0, 0], [4, 5], [2, 3], [0, 1]]
    assert vocabulary.ids("The red xyzzy, a RED ball", 20) == [3, 1, 3, 2]
    assert vocabulary.ids("a a a a", 2) == [1, 1]
    assert (len(vocabulary), "red" in vocabulary, "blue" in vocabulary) == (3, True, False)


def test_a_sentence_without_a_known_word_is_named_by_row() -> None:
    vocabulary = Vocabulary(["ball"], np.zeros((2, 2), np.float32))
    rows = [Annotation("v1", 9.0, sentence, 1.0, None) for sentence in ("a ball", "xyzzy !")]
    vocabulary.check(rows[:1], "train.json")
    with pytest.raises(InputError, match=r"train\.json: row 2 \(v1\) has no known word in 'xyzzy !'"):
        vocabulary.check(rows, "train.json")


def test_nouns_verbs_adjectives_and_adverbs_weigh_more() -> None:
    pytest.importorskip("textblob")
    tokens = tokenize("a person quickly puts the red book on a shelf")
    weights = masking_weights(tokens)
    assert weights.dtype == np.float32
    assert weights.sum() == pytest.approx(1)
    heavy = {token for token, weight in zip(tokens, weights, strict=True) if weight > weights.min()}
    assert heavy == {"person", "quickly", "puts", "red", "book", "shelf"}
    assert weights.max() / weights.min() == pytest.approx(np.e, rel=1e-5)
    assert masking_weights([]).shape == (0,)


def test_the_installed_vectors_know_english(fresh: Path) -> None:
    vectors = load_word_vectors("glove-6b-50d")
    assert (len(vectors), vectors.dim) == (400_000, 50)
    assert vectors["the"][:3].tolist() == pytest.approx([0.418, 0.24968, -0.41242])
    assert "zzzzqq" not in vectors
    assert vectors.words[:3] == ["the", ",", "."]
    assert (fresh / "cfmr").is_dir()


def test_the_cache_gives_the_same_words_and_a_damaged_one_is_made_again(fresh: Path) -> None:
    words = ["the", "sandberger", "naïve", "dog", "'s"]
    rows = [load_word_vectors().row[word] for word in words]
    for damage in (False, True):
        if damage:
            (next((fresh / "cfmr").iterdir()) / "text.npy").write_bytes(b"\x93NUMPY")
        cfmr.data.word_vectors._packaged_vectors.cache_clear()
        assert [load_word_vectors().row[word] for word in words] == rows


def test_a_home_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "dog" in load_word_vectors()


KNOWN = [
    "person",
    "man",
    "table",
    "sofa",
    "car",
    "opens",
    "runs",
    "door",
    "a",
    "cat",
    "bicycle",
    "yellow",
    "good",
    "put",
]


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("doors", "door"),
        ("opening", "opens"),
        ("ran", "runs"),
        ("running", "runs"),
        ("men", "man"),
        ("putting", "put"),
        ("Tabel", "table"),
        ("bycicle", "bicycle"),
    ],
)
def test_a_form_or_spelling_of_a_known_word_is_that_word(word: str, known: str) -> None:
    assert same_word(word, KNOWN) == known


@pytest.mark.parametrize("word", ["dog", "automobile", "puppy", "red", "woman", "closes", "goods", "xqzzt", "собака"])
def test_another_word_is_not_taken_for_a_known_one_however_near(word: str) -> None:
    assert same_word(word, KNOWN) is None


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("ties", {"tie"}),
        ("glasses", {"glass"}),
        ("dress", {"dress"}),
        ("red", {"red"}),
        ("string", {"string"}),
        ("stopped", {"stop"}),
        ("making", {"make"}),
        ("children", {"child"}),
    ],
)
def test_endings_are_taken_off(word: str, forms: set[str]) -> None:
    assert forms <= {word, *base_forms(word)}
    assert all(len(form) >= 2 for form in base_forms(word))


@given(st.text(max_size=30))
def test_a_word_is_always_a_form_of_itself(word: str) -> None:
    assert base_forms(word)[0] == word


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("un ballon rouge rebondit", "another language"),
        ("le ballon est dans la rue", "French"),
        ("ein Hund läuft", "German"),
        ("el perro corre por la calle", "Spanish"),
        ("a red ball bounces", None),
        ("the man in la la land", None),
        ("dog barks", None),
        ("", None),
    ],
)
def test_little_words_tell_another_language(sentence: str, language: str | None) -> None:
    assert foreign_language(tokenize(sentence)) == language
