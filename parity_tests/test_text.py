"""From text to pairs and counts: against loops that say what is meant; and what is learnt."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearness import assert_near
from scipy import stats

import fdl
from fdl import data

P_VALUE = 1e-3
"""A fixed seed that fails a true hypothesis this seldom would be bad luck."""

THIRDS = jnp.full(3, 1 / 3)

texts = st.lists(st.integers(0, 6), max_size=25).map(lambda ids: np.array(ids, np.int32))
windows = st.integers(1, 5)
quick = settings(deadline=None, max_examples=60)


def neighbours(ids, window):
    """Each word with each neighbour and their distance, as a loop."""
    for here in range(len(ids)):
        for there in range(max(0, here - window), min(len(ids), here + window + 1)):
            if there != here:
                yield int(ids[here]), int(ids[there]), abs(here - there)


@given(texts, windows)
@quick
def test_skip_gram_pairs_are_the_loops(ids, window):
    words, others = data.skip_gram_pairs(ids, window)
    assert words.dtype == others.dtype == ids.dtype
    got = Counter(zip(words.tolist(), others.tolist(), strict=True))
    assert got == Counter((i, j) for i, j, _ in neighbours(ids, window))


@given(texts, windows)
@quick
def test_cooccurrences_are_the_loops(ids, window):
    expected: Counter = Counter()
    for i, j, distance in neighbours(ids, window):
        expected[i, j] += 1 / distance
    i, j, counts = data.cooccurrences(ids, window)
    pairs = [*zip(i.tolist(), j.tolist(), strict=True)]
    assert pairs == sorted(expected)
    assert (i.dtype, j.dtype, counts.dtype) == (np.int32, np.int32, np.float32)
    np.testing.assert_array_equal(counts, np.float32([expected[pair] for pair in pairs]))


@given(texts, windows)
@quick
def test_cbow_pairs_are_the_words_between_their_neighbours(ids, window):
    if len(ids) <= 2 * window:
        with pytest.raises(
            ValueError, match=f"cbow_pairs: ids: expected more than .* = {2 * window}"
        ):
            data.cbow_pairs(ids, window)
        return
    around, words = data.cbow_pairs(ids, window)
    assert words.tolist() == ids[window:-window].tolist()
    for row, place in zip(around.tolist(), range(window, len(ids)), strict=False):
        expected = [*ids[place - window : place], *ids[place + 1 : place + window + 1]]
        assert row == [int(word) for word in expected]


def test_words_of_a_text():
    tokens = data.tokenize("Étude, ÉTUDE! don't -- 'tis x_1 42 naïve.")
    assert tokens == ["étude", "étude", "don't", "tis", "x", "naïve"]
    words = data.vocabulary(tokens)
    assert words.words == ("étude", "don't", "tis", "x", "naïve")
    assert words.counts.tolist() == [2, 1, 1, 1, 1]
    ids = words.encode(["naïve", "unknown", "étude"])
    assert (ids.tolist(), ids.dtype) == ([4, 0], np.int32)


def test_negative_probabilities_are_powers_of_counts():
    counts = np.array([81, 16, 0, 1])
    assert_near(data.negative_probabilities(counts), np.array([27, 8, 0, 1]) / 36)
    assert data.negative_probabilities(counts, power=0.0).tolist()[2] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.skip_gram_pairs(np.arange(4), 0), "skip_gram_pairs: window: .* got 0"),
        (lambda: data.cbow_pairs(np.arange(4), 0), "cbow_pairs: window: .* got 0"),
        (lambda: data.cooccurrences(np.arange(4), -1), "cooccurrences: window: .* got -1"),
        (lambda: data.vocabulary(["a"], min_count=2), "vocabulary: tokens: .* min_count = 2"),
        (lambda: data.negative_probabilities(np.array([0, 0])), "negative_probabilities: counts"),
        (lambda: data.negative_probabilities(np.array([1, -1])), "negative_probabilities: counts"),
        (lambda: fdl.models.word2vec(0, 3), "word2vec: vocab_size, embedding_dim: .* got 0 and 3"),
        (lambda: fdl.models.word2vec(3, 3, mode="bow"), "word2vec: mode: .* got 'bow'"),  # type: ignore
        (lambda: fdl.models.glove(3, 0), "glove: vocab_size, embedding_dim: .* got 3 and 0"),
        (lambda: fdl.models.glove_loss(x_max=0.0), "glove_loss: x_max: .* got 0.0"),
        (
            lambda: fdl.models.negative_sampling(
                fdl.models.word2vec(3, 3), jnp.ones(3), negatives=0
            ),
            "negative_sampling: negatives: .* got 0",
        ),
    ],
)
def test_wrong_arguments_say_what_is_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- negative sampling


def candidates(probabilities, rows, *, negatives=5, seed=0):
    """What the loss shows to the network, told by one whose parameters nothing depends on."""
    seen = []
    network = fdl.models.word2vec(len(probabilities), 2)

    def apply(params, buffers, *inputs, **options):
        seen.append(inputs[1])
        return network.apply(params, buffers, *inputs, **options)

    loss_fn = fdl.models.negative_sampling(
        network._replace(apply=apply), probabilities, negatives=negatives
    )
    batch = jnp.zeros(rows, jnp.int32), jnp.arange(rows, dtype=jnp.int32) % len(probabilities)
    params, buffers = network.init(jax.random.key(0))
    value, _ = loss_fn(params, buffers, batch, train=True, key=jax.random.key(seed))
    assert_near(value, (1 + negatives) * np.log(2))  # the second table starts at zero
    return np.asarray(seen[0])


def test_negatives_are_drawn_by_their_probabilities_behind_the_neighbour():
    probabilities = jnp.array([0.5, 0.3, 0.2, 0.0])
    shown = candidates(probabilities, 2000)
    assert shown.shape == (2000, 6)
    np.testing.assert_array_equal(shown[:, 0], np.arange(2000) % 4)
    counts = np.bincount(shown[:, 1:].ravel(), minlength=4)
    assert counts[3] == 0
    expected = np.array([0.5, 0.3, 0.2]) * counts.sum()
    assert stats.chisquare(counts[:3], expected).pvalue > P_VALUE


def test_negatives_are_the_keys():
    one, again, other = (candidates(jnp.full(50, 0.02), 20, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_loss_is_finite_for_logits_of_any_size():
    logits = jnp.array([[-1e30, 1e30, 0.0]], jnp.float32)
    target = jnp.array([[1.0, 0.0, 0.0]], jnp.float32)
    value, slope = jax.value_and_grad(fdl.models.negative_sampling_loss)(logits, target)
    assert np.isfinite(float(value))
    np.testing.assert_array_equal(slope, [[-1.0, 1.0, 0.5]])


# --- what is learnt: two worlds of words that never meet

WORLDS = np.arange(12).reshape(2, 6)


def two_worlds() -> np.ndarray:
    """Long stretches of words of one world, then of the other."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.choice(WORLDS[i % 2], 60) for i in range(20)]).astype(np.int32)


def gap(table) -> float:
    """Mean cosine inside the worlds, less that between them."""
    rows = np.asarray(table)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    same = WORLDS.ravel()[:, None] // 6 == WORLDS.ravel() // 6
    return cosines[same & ~np.eye(12, dtype=bool)].mean() - cosines[~same].mean()


def trained(model, loss_fn, columns):
    optimizer = fdl.optim.adam(0.02)
    step = fdl.train.make_step(loss_fn, optimizer)
    state = fdl.train.init_state(*model.init(jax.random.key(0)), optimizer, key=jax.random.key(1))
    for epoch in range(12 if len(columns[0]) > 1000 else 100):
        for batch in data.batches(columns, min(128, len(columns[0])), seed=epoch, drop_last=True):
            state, _ = step(state, batch)
    return state.params


@pytest.mark.parametrize("mode", ["skip_gram", "cbow"])
def test_word2vec_tells_two_worlds_apart(mode):
    ids = two_worlds()
    model = fdl.models.word2vec(12, 8, mode=mode)
    loss_fn = fdl.models.negative_sampling(
        model, data.negative_probabilities(np.bincount(ids, minlength=12))
    )
    columns = (data.skip_gram_pairs if mode == "skip_gram" else data.cbow_pairs)(ids, 2)
    assert gap(trained(model, loss_fn, columns)["in_embed.weight"]) > 0.5


def test_glove_tells_two_worlds_apart():
    model = fdl.models.glove(12, 8)
    loss_fn = fdl.train.supervised(model, fdl.models.glove_loss(x_max=20.0))
    params = trained(model, loss_fn, data.cooccurrences(two_worlds(), 2))
    assert gap(params["wi.weight"] + params["wj.weight"]) > 0.5
