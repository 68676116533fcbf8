"""fdl.data: how a dataset is divided, and how arrays are gone through."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fdl.data
from fdl.data import Dataset, batches, digits, num_batches, split, windows


def labelled(counts: Sequence[int]) -> Dataset:
    """Makes a dataset whose pixel is its row, with `counts` examples of each class."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    names = tuple(f"class {index}" for index in range(len(counts)))
    return Dataset("made", images, labels.astype(np.int32), names)


# --- splits

fractions = st.sampled_from([0.0, 0.1, 0.15, 0.25, 0.4])


@given(
    st.lists(st.integers(30, 60), min_size=2, max_size=4), fractions, fractions, st.integers(0, 9)
)
@settings(deadline=None, max_examples=40)
def test_split_is_disjoint_stratified_and_whole(counts, validation, test, seed):
    dataset = labelled(counts)
    total = len(dataset.labels)
    parts = split(dataset, validation=validation, test=test, seed=seed)

    rows = [part.images.reshape(-1).astype(int) for part in parts]
    assert sorted(np.concatenate(rows).tolist()) == list(range(total))
    assert len(parts.validation.labels) == round(validation * total)
    assert len(parts.test.labels) == round(test * total)
    for part, row in zip(parts, rows, strict=True):
        assert (part.name, part.classes) == (dataset.name, dataset.classes)
        np.testing.assert_array_equal(part.labels, dataset.labels[row])
        share = len(row) / total
        got = np.bincount(part.labels, minlength=len(counts))
        assert np.all(np.abs(got - share * np.array(counts)) < 2)  # rounded twice


@pytest.mark.parametrize("sizes", [(0.1, 0.1), (0.0, 0.2), (0.0, 0.0)])
def test_split_is_shuffled_by_its_seed(sizes):
    def rows(seed):
        parts = split(labelled([40, 40]), validation=sizes[0], test=sizes[1], seed=seed)
        return [part.images.reshape(-1).tolist() for part in parts]

    assert rows(3) == rows(3)
    assert rows(3) != rows(4)
    assert rows(3)[0] != sorted(rows(3)[0])


def test_split_leaves_the_dataset_as_it_was():
    dataset = digits()
    before = dataset.images.copy(), dataset.labels.copy()
    split(dataset)
    np.testing.assert_array_equal(dataset.images, before[0])
    np.testing.assert_array_equal(dataset.labels, before[1])


@pytest.mark.parametrize(
    ("validation", "test"), [(-0.1, 0.1), (0.1, 1.0), (0.5, 0.5), (math.nan, 0.1), (2, 0.1)]
)
def test_split_refuses_fractions_that_leave_nothing(validation, test):
    with pytest.raises(ValueError, match=f"add up to less than 1, got {validation} and {test}"):
        split(labelled([20, 20]), validation=validation, test=test)


@pytest.mark.parametrize(
    ("counts", "got"),
    [
        ([40, 1], "got 1 of 'class 1'"),  # cannot be on both sides
        ([2, 40], "got 2 of 'class 0'"),  # too rare for a tenth
        ([9] * 30, "got 9 of"),  # 27 for testing, fewer than classes
        ([3, 3], "got 3 of 'class 0'"),
        ([4, 96], "got 4 of 'class 0'"),
    ],
)
def test_split_refuses_a_class_with_too_few_examples(counts, got):
    with pytest.raises(ValueError, match=f"each of {len(counts)} classes both among.*{got}"):
        split(labelled(counts), validation=0.1, test=0.1)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), fractions, fractions)
@settings(deadline=None, max_examples=60)
def test_split_loses_no_class_or_says_so(counts, validation, test):
    refusal, parts = "expected enough examples", ()
    try:
        parts = split(labelled(counts), validation=validation, test=test)
    except ValueError as error:
        refusal = str(error)
    assert "expected enough examples" in refusal
    for part in parts:
        assert len(part.labels) == 0 or set(part.labels) == set(range(len(counts)))


def test_split_of_nothing():
    with pytest.raises(ValueError, match="expected examples, got none in 'made'"):
        split(labelled([]))


def test_split_names_the_extra_when_scikit_learn_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(ImportError, match=r"split needs 'sklearn'.*pip install 'fdl\[data\]'"):
        split(labelled([20, 20]))


# --- batches


@given(
    st.integers(0, 60),
    st.integers(1, 20),
    st.none() | st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(deadline=None)
def test_batches_give_every_row_once(n, batch_size, seed, drop_last):
    drop_last = drop_last and n >= batch_size
    arrays = np.arange(2 * n).reshape(n, 2), np.arange(n) * 10
    got = list(batches(arrays, batch_size, seed=seed, drop_last=drop_last))

    sizes = [batch_size] * (n // batch_size)
    sizes += [n % batch_size] if n % batch_size and not drop_last else []
    assert [len(first) for first, _ in got] == sizes
    assert num_batches(n, batch_size, drop_last=drop_last) == len(sizes)
    rows = [row for _, second in got for row in (second // 10).tolist()]
    assert len(set(rows)) == len(rows) == sum(sizes)
    assert all(np.array_equal(first[:, 0], second // 5) for first, second in got)
    if seed is None:
        assert rows == list(range(len(rows)))
    elif not drop_last:
        assert sorted(rows) == list(range(n))


def test_batches_are_shuffled_by_their_seed():
    def order(seed):
        return [i for (rows,) in batches([np.arange(50)], 8, seed=seed) for i in rows.tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:8] != sorted(order(1)[:8])


def test_batches_with_drop_last_leave_out_other_rows_each_time():
    left_out = {
        99 - sum(int(rows.sum()) for (rows,) in batches([np.arange(10)], 9, seed=s, drop_last=True))
        for s in range(20)
    }
    assert len(left_out) > 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros((3, 2)), np.zeros(4)), r"equal first axis, got shapes \[\(3, 2\), \(4,\)\]"),
        ((), r"one or more arrays.*got shapes \[\]"),
        ((np.float32(1),), r"got shapes \[\(\)\]"),
        (labelled([2, 2]), r"Of a dataset, give \(images, labels\)"),
    ],
)
def test_batches_refuse_arrays_that_do_not_go_together(arrays, message):
    with pytest.raises(ValueError, match=message):
        batches(arrays, 2)


def test_batches_refuse_an_array_instead_of_a_tuple():
    images: Any = np.zeros((4, 2))
    with pytest.raises(TypeError, match="expected a tuple of arrays, got ndarray"):
        batches(images, 2)


def count_three(batch_size, **how):
    return num_batches(3, batch_size, **how)


def go_through_three(batch_size, **how):
    return batches([np.zeros(3)], batch_size, **how)


@pytest.mark.parametrize("act", [count_three, go_through_three])
def test_batches_refuse_sizes_that_give_none(act):
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size: expected 1 or more, got {size}"):
            act(size)
    with pytest.raises(ValueError, match=r"expected at most 3, the number of examples.*got 4"):
        act(4, drop_last=True)


# --- windows


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 5), st.none() | st.integers(1, 3))
@settings(deadline=None)
def test_windows_are_slices(steps, length, horizon, features):
    steps += length + horizon - 1
    shape = (steps,) if features is None else (steps, features)
    series = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    inputs, targets = windows(series, length, horizon=horizon)

    columns = series.reshape(steps, -1)
    count = steps - length - horizon + 1
    expected = [columns[i : i + length] for i in range(count)]
    np.testing.assert_array_equal(inputs, expected)
    np.testing.assert_array_equal(
        targets, [columns[i + length - 1 + horizon] for i in range(count)]
    )
    assert inputs.dtype == targets.dtype == series.dtype
    assert inputs.flags.c_contiguous
    assert inputs.flags.writeable
    assert not np.shares_memory(inputs, series)
    assert not np.shares_memory(targets, series)


def test_windows_one_step_ahead_by_default():
    inputs, targets = windows(np.arange(5), 3)
    assert inputs[..., 0].tolist() == [[0, 1, 2], [1, 2, 3]]
    assert targets.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("shape", "length", "horizon", "message"),
    [
        ((), 1, 1, r"expected shape \(T,\) or \(T, F\), got \(\)"),
        ((2, 5, 3), 1, 1, r"got \(2, 5, 3\)"),
        ((5,), 0, 1, "expected 1 or more, got 0 and 1"),
        ((5,), 1, 0, "expected 1 or more, got 1 and 0"),
        ((5,), 3, 3, r"at least length \+ horizon = 6 steps, got 5"),
    ],
)
def test_windows_refuse(shape, length, horizon, message):
    with pytest.raises(ValueError, match=message):
        windows(np.zeros(shape), length, horizon=horizon)


def test_public_names_are_functions_and_not_modules():
    for name in fdl.data.__all__:
        assert callable(getattr(fdl.data, name)), name
