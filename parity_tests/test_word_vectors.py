"""Word vectors as text, and how near they are: real ones, any words and numbers, damaged files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import inside
from nearness import assert_near

from fdl.data import (
    WordVectors,
    analogy,
    load_word_vectors,
    nearest,
    save_word_vectors,
    similarity,
)

REAL = ("wefe", "datasets/data/weat_w2v____old.txt")


@pytest.fixture(scope="module")
def real():
    return load_word_vectors(inside(*REAL))


# --- real vectors


def test_real_file_is_read_as_numpy_reads_it(real):
    lines = inside(*REAL).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "347 300"
    assert real.words == tuple(line.split()[0] for line in lines[1:])
    expected = np.array([line.split()[1:] for line in lines[1:]]).astype(np.float32)
    np.testing.assert_array_equal(real.vectors, expected)
    assert real.vectors.dtype == np.float32


def torch_cosine(real, first, second):
    return torch.nn.functional.cosine_similarity(
        *(torch.tensor(real.vector(word)) for word in (first, second)), dim=0
    )


def test_real_words_are_as_near_as_in_torch(real, record_property):
    near, far = similarity(real, "brother", "sister"), similarity(real, "brother", "violin")
    assert (round(float(near), 3), round(float(far), 3)) == (0.716, 0.196)
    assert_near(near, torch_cosine(real, "brother", "sister"))
    assert_near(far, torch_cosine(real, "brother", "violin"))
    record_property("weights", ("word2vec", "wefe 1.0.1: its vectors"))


def test_nearest_real_words_are_torchs(real):
    table = torch.nn.functional.normalize(torch.tensor(real.vectors, dtype=torch.float64))
    for word in ("brother", "violin", "math"):
        cosines = table @ table[real.row(word)]
        cosines[real.row(word)] = -torch.inf
        values, rows = cosines.topk(10)
        found = nearest(real, word)
        assert [name for name, _ in found] == [real.words[row] for row in rows]
        assert_near([value for _, value in found], values.numpy())
    vector = real.vector("brother")
    assert nearest(real, vector, k=1)[0][0] == "brother"


def test_real_analogies_are_torchs(real):
    table = torch.nn.functional.normalize(torch.tensor(real.vectors, dtype=torch.float64))
    for words in (("brother", "sister", "uncle"), ("man", "woman", "father")):
        one, other, third = (real.row(word) for word in words)
        query = torch.nn.functional.normalize(table[other] - table[one] + table[third], dim=0)
        cosines = table @ query
        cosines[[one, other, third]] = -torch.inf
        values, rows = cosines.topk(3)
        found = analogy(real, *words, k=3)
        assert [name for name, _ in found] == [real.words[row] for row in rows]
        assert_near([value for _, value in found], values.numpy())
    assert analogy(real, "brother", "sister", "uncle", k=1)[0][0] == "aunt"


def test_no_more_words_than_there_are(real):
    few = WordVectors(real.words[:4], real.vectors[:4])
    assert len(nearest(few, few.words[0], k=10)) == 3
    assert len(analogy(few, *few.words[:3], k=10)) == 1


def test_unknown_words_and_no_words_say_so(real):
    for ask in (lambda: similarity(real, "brother", "xyzzy"), lambda: nearest(real, "xyzzy")):
        with pytest.raises(KeyError, match="expected one of the 347 words, got 'xyzzy'"):
            ask()
    with pytest.raises(ValueError, match="nearest: k: expected 1 or more, got 0"):
        nearest(real, "brother", k=0)


# --- round trips


@pytest.mark.parametrize("header", [True, False])
def test_real_vectors_come_back_the_same(real, tmp_path, header):
    save_word_vectors(tmp_path / "vectors.txt", real, header=header)
    again = load_word_vectors(tmp_path / "vectors.txt")
    assert again.words == real.words
    np.testing.assert_array_equal(again.vectors, real.vectors)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\n")
any_words = st.text(letters, min_size=1, max_size=6).filter(
    lambda word: " " not in word or not word.rpartition(" ")[2].strip().lstrip("+-")[:1].isalnum()
)
"""Words with any spaces in them, the last part of which is far from a number."""


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_any_words_and_numbers_come_back_the_same(tmp_path_factory, data):
    words = data.draw(st.lists(any_words, max_size=6, unique=True))
    dimension = data.draw(st.integers(1, 4))
    header = data.draw(st.booleans()) or not words or " " in words[0]
    table = [[data.draw(numbers) for _ in range(dimension)] for _ in words]
    vectors = np.array(table, np.float32).reshape(-1, dimension)
    path = tmp_path_factory.mktemp("words") / "vectors.txt"
    save_word_vectors(path, WordVectors(tuple(words), vectors), header=header)
    again = load_word_vectors(path)
    assert again.words == tuple(words)
    np.testing.assert_array_equal(again.vectors.view(np.int32), vectors.view(np.int32))


def read(tmp_path, text: str | bytes) -> WordVectors:
    path = tmp_path / "vectors.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_word_vectors(path)


@pytest.mark.parametrize(
    "text",
    [
        "2 2\ntea 1 2\ncup 3 4\n",
        "tea 1 2\ncup 3 4",  # GloVe's, without a last line feed
        "2 2 \ntea 1 2 \ncup 3 4 \n",  # the word2vec program ends lines in a space
        "2 2\r\ntea 1 2\r\ncup 3 4\r\n",
        "tea 1.0e0 +2\ncup 3. 04\n",
    ],
)
def test_formats_are_told_apart(tmp_path, text):
    vectors = read(tmp_path, text)
    assert vectors.words == ("tea", "cup")
    assert vectors.vectors.tolist() == [[1, 2], [3, 4]]


def test_words_with_odd_spaces(tmp_path):
    words = ("non\u00a0breaking", "line\u2028end", "next\x85line", ". . .", "\u3000", "7")
    lines = "".join(f"{word} 1 2\n" for word in words)
    assert read(tmp_path, lines).words == words
    assert read(tmp_path, f"6 2\n{lines}").words == words


# --- damaged files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header, or a word and its numbers, got ''"),
        ("tea\n", "line 1: expected a header, or a word and its numbers, got 'tea'"),
        ("tea 1 2\ncup 3\n", "line 2: expected a word and 2 numbers, 3 fields in all, got 2"),
        ("tea 1 2\ncup 3 4 5\n", "line 2: expected a word and 2 numbers, .* got 4 fields"),
        ("2 2\ntea 1 2\n\ncup 3 4\n", "line 3: expected a word and 2 numbers, .* got 1 fields"),
        ("2 2\ntea 1 2\ntea 3 4\n", "line 3: expected each word once, got 'tea', as in line 2"),
        ("tea 1 2\ncup 3 x\n", "line 2: expected numbers after 'cup', got 'x'"),
        ("tea 1 nan\n", "line 1: expected finite float32 numbers after 'tea'"),
        ("tea 1 1e39\n", "line 1: expected finite float32 numbers after 'tea'"),
        ("1 2\n 1 2\n", "line 2: expected a word before the first number, got none"),
        ("3 2\ntea 1 2\ncup 3 4\n", "line 1: expected as many words as it says, 3, got 2"),
        ("1 2\ntea 1 2\ncup 3 4\n", "line 1: expected as many words as it says, 1, got 2"),
        (b"tea 1 2\n\xff\xfe 1 2\n", "expected UTF-8"),
    ],
)
def test_damaged_files_are_refused_by_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"load_word_vectors: .*vectors\.txt'.*{message}"):
        read(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_word_vectors(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("words", "table", "header", "message"),
    [
        (
            ("a",),
            np.ones((2, 2)),
            True,
            r"one row .*, got 1 words and shape \(2, 2\)",
        ),
        (("a",), np.ones((1, 0)), True, r"one row of one number or more .* shape \(1, 0\)"),
        ((), np.ones((0, 2)), False, "expected a word, got none"),
        (("a", ""), np.ones((2, 2)), True, "word 1: expected one that can be read back.*got ''"),
        (("a", "a"), np.ones((2, 2)), True, "word 1: .*there once.*got 'a'"),
        (("a\nb",), np.ones((1, 2)), True, r"word 0: .*without line feed.*got 'a\\nb'"),
        (("at 5",), np.ones((1, 2)), True, "word 0: .*last part no number.*got 'at 5'"),
        (("a b",), np.ones((1, 2)), False, "word 0: .*without spaces if there is no header"),
        (("a", "b"), np.array([[1, 2], [3, np.inf]]), True, "finite numbers, got others for 'b'"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, words, table, header, message):
    path = tmp_path / "vectors.txt"
    path.write_text("earlier")
    with pytest.raises(ValueError, match=f"save_word_vectors: vectors: .*{message}"):
        save_word_vectors(path, WordVectors(words, table.astype(np.float32)), header=header)
    assert path.read_text() == "earlier"
    assert [*tmp_path.iterdir()] == [path]
