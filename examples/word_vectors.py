"""Learns word vectors from the Python language reference by skip-gram with negative sampling.

The text is real and comes with Python itself, as the module ``pydoc_data.topics``: 64,000 words.
Those that are used alike should end up near each other. ``--vectors`` saves what was learnt as
text, in the format of word2vec.

Run: python examples/word_vectors.py
"""

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

import fdl
from fdl import data

GROUPS = {
    "numbers": ("integer", "float", "complex"),
    "containers": ("list", "tuple", "dictionary"),
    "errors": ("exception", "raised", "traceback"),
    "methods": ("object", "method", "instance"),
}


def learnt(text: str, epochs: int) -> tuple[data.WordVectors, list[float]]:
    """Trains on a text; returns the vectors and the mean loss of each epoch."""
    tokens = data.tokenize(text)
    words = data.vocabulary(tokens, min_count=10)
    pairs = data.skip_gram_pairs(words.encode(tokens), window=4)
    print(
        f"text      {len(tokens)} words, {len(words.words)} different ones, {len(pairs[0])} pairs"
    )

    model = fdl.models.word2vec(len(words.words), 50)
    loss_fn = fdl.models.negative_sampling(model, data.negative_probabilities(words.counts))
    optimizer = fdl.optim.adam(lr=3e-3)
    step = fdl.train.make_step(loss_fn, optimizer)
    state = fdl.train.init_state(*model.init(jax.random.key(0)), optimizer, key=jax.random.key(1))
    losses = []
    for epoch in range(epochs):
        measured = []
        for batch in data.batches(pairs, 4096, seed=epoch, drop_last=True):
            state, metrics = step(state, batch)
            measured.append(metrics["loss"])
        losses.append(float(jnp.mean(jnp.stack(measured))))
    return data.WordVectors(words.words, np.array(state.params["in_embed.weight"])), losses


def similarities(vectors: data.WordVectors, words: list[str]) -> np.ndarray:
    """Returns the cosine of each word with each."""
    return np.array([[data.similarity(vectors, one, other) for other in words] for one in words])


def draw(cosines: np.ndarray, words: list[str], path: Path) -> None:
    """Draws the cosines as a map."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    labels = {"xticklabels": words, "yticklabels": words}
    sns.heatmap(cosines, vmin=0, vmax=1, square=True, cmap="rocket_r", ax=axes, **labels)
    axes.set_title("Cosine between word vectors")
    figure.savefig(path)


def main() -> None:
    """Trains, compares words of one group with words of different groups, and saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/word_vectors"))
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    vectors, losses = learnt("\n".join(topics.values()), arguments.epochs)
    print(f"loss      {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last")

    words = [word for group in GROUPS.values() for word in group]
    groups = np.repeat([*GROUPS], [len(group) for group in GROUPS.values()])
    cosines = similarities(vectors, words)
    alike = groups[:, None] == groups
    each = ~np.eye(len(words), dtype=bool)
    print(f"mean cosine, words of one group         {cosines[alike & each].mean():.3f}")
    print(f"mean cosine, words of different groups  {cosines[~alike].mean():.3f}")
    for word in ("tuple", "float", "raised"):
        near = ", ".join(
            f"{other} {cosine:.2f}" for other, cosine in data.nearest(vectors, word, 4)
        )
        print(f"nearest to {word:<8} {near}")

    if arguments.vectors is not None:
        data.save_word_vectors(arguments.vectors, vectors)
        print(f"vectors   {arguments.vectors}")
    draw(cosines, words, arguments.out / "similarity.png")
    print(f"picture   {arguments.out / 'similarity.png'}")


if __name__ == "__main__":
    main()
