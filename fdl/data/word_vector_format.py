"""Word vectors as text, in the formats of word2vec and GloVe."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from fdl._files import replacing
from fdl.data.word_vectors import WordVectors

FilePath = str | os.PathLike[str]


def load_word_vectors(path: FilePath) -> WordVectors:
    """Reads word vectors in word2vec's text format, or in GloVe's, which has no header.

    Each line is a word and its numbers, one space between. A first line of two whole numbers is
    the header: how many words, how many numbers each. A word may hold any character but a line
    feed; if it holds spaces, its last part must not read as a number. The first word of a file
    without header must hold none, since its line tells how many numbers there are.

    Args:
        path: a text file in UTF-8.

    Returns:
        The words in the order of the file, and their vectors.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has another count of numbers, no word, a word for the second time, or
            what is not a finite number; if the header announces another count of words; or if the
            file is empty or not in UTF-8. The error names file and line.

    Example:
        ```python
        vectors = fdl.data.load_word_vectors("glove.6B.50d.txt")
        fdl.data.nearest(vectors, "coffee", k=5)
        ```

    Torch: ``gensim.models.KeyedVectors.load_word2vec_format``, then
    ``torch.nn.Embedding.from_pretrained``.
    """
    lines = _lines(Path(path))
    first = next(lines, "")
    header = _header(first)
    count, dimension = header or (None, first.count(" "))
    if not dimension:
        raise _wrong(path, 1, f"a header, or a word and its numbers, got {first[:80]!r}")
    words: dict[str, int] = {}
    rows: list[np.ndarray] = []
    rest = enumerate(lines, start=2)
    for number, line in rest if header else chain([(1, first)], rest):
        word, row = _parsed(path, number, line, dimension)
        if word in words:
            raise _wrong(path, number, f"each word once, got {word!r}, as in line {words[word]}")
        words[word] = number
        rows.append(row)
    if header and count != len(rows):
        raise _wrong(path, 1, f"as many words as it says, {count}, got {len(rows)}")
    return WordVectors(tuple(words), np.array(rows, np.float32).reshape(-1, dimension))


def save_word_vectors(path: FilePath, vectors: WordVectors, *, header: bool = True) -> None:
    """Writes word vectors as text, so that :func:`load_word_vectors` gives back the same numbers.

    Args:
        path: of the file; an earlier one is replaced when the new one is whole.
        vectors: the words and their vectors, float32.
        header: begin with a line of counts, as word2vec does and GloVe does not.

    Raises:
        ValueError: if words and rows are not as many, or something could not be read back: a word
            that is empty or there twice, a line feed in one, a number that is not finite.

    Example:
        >>> import fdl, numpy as np, pathlib, tempfile
        >>> vectors = fdl.data.WordVectors(("tea", "cup"), np.eye(2, dtype=np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "vectors.txt")
        ...     fdl.data.save_word_vectors(path, vectors)
        ...     print(path.read_text())
        2 2
        tea 1.0 0.0
        cup 0.0 1.0
        <BLANKLINE>
    """
    words, table = vectors.words, np.asarray(vectors.vectors, np.float32)
    if table.ndim != 2 or not table.shape[1] or len(words) != len(table):
        raise ValueError(
            f"save_word_vectors: vectors: expected one row of one number or more for each word, "
            f"got {len(words)} words and shape {table.shape}."
        )
    if not header and not words:
        raise ValueError("save_word_vectors: vectors: expected a word, got none: keep the header.")
    _check_words(words, header=header)
    if not np.isfinite(table).all():
        word = words[int(np.argmin(np.isfinite(table).all(axis=1)))]
        raise ValueError(
            f"save_word_vectors: vectors: expected finite numbers, got others for {word!r}."
        )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        if header:
            file.write(f"{len(words)} {table.shape[1]}\n")
        for word, row in zip(words, table, strict=True):
            file.write(f"{word} {' '.join(map(str, row))}\n")


def _lines(path: Path) -> Iterator[str]:
    """The lines without their ends; only a line feed ends one."""
    with path.open(encoding="utf-8", newline="\n") as file:
        try:
            for line in file:
                yield line.rstrip()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"load_word_vectors: {str(path)!r}: expected UTF-8, got {error}. Is it the binary "
                "format, or compressed?"
            ) from error


def _header(line: str) -> tuple[int, int] | None:
    """Counts of words and of numbers, if the line is a header."""
    fields = line.split(" ")
    if len(fields) == 2 and all(field.isascii() and field.isdigit() for field in fields):
        return int(fields[0]), int(fields[1])
    return None


def _parsed(path: FilePath, number: int, line: str, dimension: int) -> tuple[str, np.ndarray]:
    word, *fields = line.rsplit(" ", dimension)
    if len(fields) != dimension or _ends_in_number(word):
        whole = f"a word and {dimension} numbers, {dimension + 1} fields in all"
        raise _wrong(path, number, f"{whole}, got {line.count(' ') + 1} fields")
    if not word:
        raise _wrong(path, number, "a word before the first number, got none")
    for field in fields:
        if not _is_number(field):
            raise _wrong(path, number, f"numbers after {word!r}, got {field!r}")
    with np.errstate(over="ignore"):
        row = np.array([*map(float, fields)]).astype(np.float32)
    if not np.isfinite(row).all():
        raise _wrong(path, number, f"finite float32 numbers after {word!r}, got others")
    return word, row


def _ends_in_number(word: str) -> bool:
    """Whether the last part of a word with spaces would be taken for one of its numbers."""
    return " " in word and _is_number(word.rpartition(" ")[2])


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _check_words(words: Sequence[str], *, header: bool) -> None:
    seen: set[str] = set()
    for index, word in enumerate(words):
        unreadable = not word or "\n" in word or _ends_in_number(word)
        if unreadable or word in seen or (index == 0 and not header and " " in word):
            raise ValueError(
                f"save_word_vectors: vectors: word {index}: expected one that can be read back: "
                "not empty, there once, without line feed, its last part no number if it has "
                f"spaces, the first without spaces if there is no header; got {word!r}."
            )
        seen.add(word)


def _wrong(path: FilePath, line: int, expected: str) -> ValueError:
    return ValueError(
        f"load_word_vectors: {str(path)!r}, line {line}: expected {expected}. Is it a whole file "
        "of word vectors as text?"
    )
