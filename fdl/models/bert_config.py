"""The sizes and options of BERT, under the names that Hugging Face gives them."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Self

_REQUIRED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
"""What a file may say, but not otherwise: these variants are other networks."""


class BertConfig(NamedTuple):
    """What a BERT is built from; the defaults are BERT-base, uncased.

    Attributes:
        vocab_size: V, number of tokens.
        hidden_size: D, features of each token.
        num_hidden_layers: depth.
        num_attention_heads: a divisor of D.
        intermediate_size: hidden units of each feed-forward network.
        hidden_act: its activation: ``"gelu"``, ``"gelu_new"``, ``"gelu_pytorch_tanh"``, ``"relu"``,
            ``"silu"`` or ``"tanh"``.
        hidden_dropout_prob: probability of zeroing a feature in training.
        attention_probs_dropout_prob: that of zeroing an attention weight.
        max_position_embeddings: length of the longest sequence.
        type_vocab_size: number of token types, 2 for pairs of sentences.
        initializer_range: standard deviation of new weights.
        layer_norm_eps: added to variances.
        pad_token_id: the token whose embedding gets no gradient; None for none.
        classifier_dropout: probability before a classifier; None is `hidden_dropout_prob`.
        tie_word_embeddings: whether the masked language model's decoder is the table of tokens.
        num_labels: number of classes of a classifier.

    Example:
        >>> import fdl
        >>> fdl.models.BertConfig(hidden_size=384, num_hidden_layers=6).vocab_size
        30522

    Torch: ``transformers.BertConfig``, the encoder's part of it.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    tie_word_embeddings: bool = True
    num_labels: int = 2

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Reads the ``config.json`` that stands beside published weights.

        Args:
            path: of the file; fields that are not listed above are ignored.

        Returns:
            The configuration, defaults where the file says nothing.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it describes another network than BERT's encoder.
        """
        fields: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        for name, expected in _REQUIRED.items():
            got = fields.get(name, expected)
            if got != expected:
                raise ValueError(
                    f"BertConfig.from_json: {name}: expected {expected!r}, got {got!r}. fdl's bert "
                    "is the encoder alone; these weights are of another network."
                )
        if "id2label" in fields:
            fields["num_labels"] = len(fields["id2label"])
        return cls(**{name: fields[name] for name in cls._fields if name in fields})

    @property
    def head_dropout_prob(self) -> float:
        """The probability of dropout before a classifier."""
        given = self.classifier_dropout
        return self.hidden_dropout_prob if given is None else given
