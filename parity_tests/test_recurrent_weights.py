"""Published weights of recurrent networks: a speaker encoder, and an English speller's phonemes."""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from inside import inside
from nearness import assert_near

import fdl
from fdl import nn

TEXT = (
    "the of and to in is you that it he was for on are as with his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do "
    "how their if will up other about out many then them these so some her would make like him "
    "into time has look two more write go see number no way could people my than first water been "
    "call who oil its now find long down day did get come made may part sound knowledge"
)
WORDS = TEXT.split()
GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
SOUNDS = (
    "AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 "
    "EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 "
    "OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"
)
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *SOUNDS.split()]
START, END = 2, 3
LONGEST = 20
"""Phonemes of a word at most, as the package's own prediction has it."""


class SpeakerEncoder(nn.Module):
    """Resemblyzer's VoiceEncoder."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True, rngs=rngs)
        self.linear = nn.Linear(256, 256, rngs=rngs)
        self.relu = nn.ReLU()

    def __call__(self, mels: jax.Array) -> jax.Array:
        _, (hidden, _) = self.lstm(mels)
        embedded = self.relu(self.linear(hidden[-1]))
        return embedded / jnp.linalg.norm(embedded, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def voice_encoder():
    """The package's own class; its readers of sound files are not needed and left out."""
    package, audio = ModuleType("resemblyzer"), ModuleType("resemblyzer.audio")
    package.__path__ = [str(inside("resemblyzer", ""))]
    package.audio = audio
    path = inside("resemblyzer", "voice_encoder.py")
    spec = importlib.util.spec_from_file_location("resemblyzer.voice_encoder", path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"resemblyzer": package, "resemblyzer.audio": audio}):
        spec.loader.exec_module(module)
        return module.VoiceEncoder("cpu", verbose=False).eval()


def mels() -> np.ndarray:
    """Three spectrograms of 1.6 s: drifting bands of energy, in the power that speech has."""
    generator = np.random.default_rng(0)
    time, band = np.arange(160)[:, None], np.arange(40)
    centres = generator.uniform(5, 35, (3, 1, 1)) + 4 * np.sin(time / generator.uniform(5, 20))
    return (np.exp(-((band - centres) ** 2) / 18) * generator.uniform(0.5, 1, (3, 160, 1))) * 0.1


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_speaker_embeddings_are_resemblyzers(voice_encoder, precision, record_property):
    file = inside("resemblyzer", "pretrained.pt")
    weights = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
    scoring = {"similarity_weight", "similarity_bias"}  # of the training loss, as the package says
    assert scoring < weights.keys()
    dtype = getattr(torch, precision)
    weights = {name: w.to(dtype) for name, w in weights.items() if name not in scoring}
    with torch.no_grad():
        expected = voice_encoder.to(dtype)(torch.tensor(mels(), dtype=dtype)).numpy()
    with jax.enable_x64(precision == "float64"):
        model = fdl.as_model(lambda rngs: SpeakerEncoder(rngs=rngs))
        params, buffers = fdl.interop.from_torch(weights, like=model)
        got, _ = jax.jit(model.apply)(params, buffers, jnp.asarray(mels(), precision))
    assert str(got.dtype) == precision
    if precision == "float64":
        np.testing.assert_allclose(got, expected, rtol=0, atol=fdl.parity.TOLERANCE.float64)
    else:
        assert_near(got, expected)
    likeness = expected @ expected.T
    assert likeness[~np.eye(3, dtype=bool)].max() < 0.99  # three voices, not one constant
    record_property("weights", ("lstm", "resemblyzer 0.1.4: its layers, in its speaker encoder"))


@pytest.fixture(scope="module")
def speller() -> dict[str, np.ndarray]:
    with np.load(inside("g2p_en", "checkpoint20.npz")) as file:
        return dict(file)


def spelled() -> tuple[np.ndarray, np.ndarray]:
    """Graphemes of all words, each closed by its end and padded, and how many they are."""
    ids = [[*map(GRAPHEMES.index, word), GRAPHEMES.index("</s>")] for word in WORDS]
    lengths = np.array([len(row) for row in ids])
    padded = np.zeros((len(ids), lengths.max()), int)
    for row, own in zip(padded, ids, strict=True):
        row[: len(own)] = own
    return padded, lengths


def torch_spelling(weights: dict[str, np.ndarray]) -> list[list[str]]:
    """Word by word, as the package's prediction goes, on torch's layers."""
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    encoder, decoder = torch.nn.GRU(256, 256, batch_first=True), torch.nn.GRUCell(256, 256)
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    with torch.no_grad():
        for layer, side in ((encoder, "enc"), (decoder, "dec")):
            for parameter, name in zip(layer.parameters(), names, strict=True):
                parameter.copy_(tensors[f"{side}_{name}"])
        return [_torch_word(word, encoder, decoder, tensors) for word in WORDS]


def _torch_word(word: str, encoder, decoder, tensors) -> list[str]:
    ids = [*map(GRAPHEMES.index, word), GRAPHEMES.index("</s>")]
    _, h_n = encoder(tensors["enc_emb"][ids][None])
    hidden, token, phonemes = h_n[0], START, []
    for _ in range(LONGEST):
        hidden = decoder(tensors["dec_emb"][token][None], hidden)
        logits = hidden @ tensors["fc_w"].T + tensors["fc_b"]
        token = int(logits.argmax())
        if token == END:
            break
        phonemes.append(PHONEMES[token])
    return phonemes


class Encoder(nn.Module):
    """Reads a word; its last state is what it has to say."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.embedding = nn.Embedding(29, 256, rngs=rngs)
        self.gru = nn.GRU(256, 256, batch_first=True, rngs=rngs)

    def __call__(self, ids: jax.Array, lengths: jax.Array) -> jax.Array:
        _, h_n = self.gru(self.embedding(ids), lengths=lengths)
        return h_n


def layer(weights: dict[str, np.ndarray], side: str, name: str) -> dict[str, jax.Array]:
    """The tensors of one side under torch's names."""
    short = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    tensors = {f"{name}.{long}_l0": weights[f"{side}_{s}"] for long, s in short.items()}
    tensors["embedding.weight"] = weights[f"{side}_emb"]
    return jax.tree.map(jnp.array, tensors)


def speak() -> Callable[..., jax.Array]:
    """Words to phonemes, encoder and greedy decoding in one jitted program."""
    encoder = fdl.as_model(lambda rngs: Encoder(rngs=rngs))
    decoder = fdl.models.language_model(len(PHONEMES), 256, 256, cell="gru")

    @jax.jit
    def phonemes(reading, writing, ids, lengths):
        state, _ = encoder.apply(reading, {}, ids, lengths)
        prompt = jnp.full((len(ids), 1), START)
        return fdl.models.generate(decoder, writing, {}, prompt, LONGEST, state=state, end=END)

    return phonemes


def test_phonemes_of_a_hundred_words_are_torchs(speller, record_property):
    assert len({*WORDS}) == 100
    expected = torch_spelling(speller)
    reading = layer(speller, "enc", "gru")
    writing = layer(speller, "dec", "rnn")
    writing |= {"fc.weight": jnp.array(speller["fc_w"]), "fc.bias": jnp.array(speller["fc_b"])}
    tokens = speak()(reading, writing, *map(jnp.array, spelled()))
    got = [[PHONEMES[t] for t in row if t != END] for row in tokens.tolist()]
    assert got == expected
    assert expected[WORDS.index("water")] == ["W", "AO1", "T", "ER0"]  # and they are English
    record_property("weights", ("language_model", "g2p-en 2.1.0: the decoder"))
