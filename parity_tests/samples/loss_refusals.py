"""Bad calls of losses and distances."""

from functools import partial

import jax.numpy as jnp

import fdl
import fdl.functional as F
from samples.refusal import refused

X, Y = jnp.ones((2, 3)), jnp.zeros((2, 3))
LABELS = jnp.array([0, 2])
TIMES, NAMES = jnp.zeros((5, 2, 4)), jnp.ones((2, 3), int)
wrong = partial(refused, ValueError)
mistyped = partial(refused, TypeError)

REFUSED: list = [
    wrong("l1_loss;target;expected;(2, 3);got (2,)", F.l1_loss, X, jnp.ones(2)),
    wrong("smooth_l1_loss;target;expected;got (3, 2)", F.smooth_l1_loss, X, Y.T),
    wrong("l1_loss;weight;expected;(2, 3);got (3,)", F.l1_loss, X, Y, weight=jnp.ones(3)),
    wrong("huber_loss;weight;expected;got (3,)", F.huber_loss, X, Y, weight=jnp.ones(3)),
    wrong("mse_loss;reduction;expected;got 'max'", F.mse_loss, X, Y, "max"),
    wrong("smooth_l1_loss;beta;expected;got -1", F.smooth_l1_loss, X, Y, beta=-1.0),
    wrong("huber_loss;delta;expected;got 0", F.huber_loss, X, Y, delta=0.0),
    mistyped("HuberLoss;delta;expected;got 1j", fdl.nn.HuberLoss, delta=1j),
    mistyped("huber_loss;expected;target int32", F.huber_loss, X, Y.astype("int32")),
    wrong("poisson_nll_loss;target;expected;got (3,)", F.poisson_nll_loss, X, jnp.ones(3)),
    wrong("gaussian_nll_loss;var;expected;got (3, 2)", F.gaussian_nll_loss, X, Y, X.T),
    wrong("gaussian_nll_loss;var;expected;got -1.0", F.gaussian_nll_loss, X, Y, -X),
    wrong("kl_div;reduction;expected;got 'batch'", F.kl_div, X, Y, "batch"),
    wrong("nll_loss;target;expected;0 to 2;got 3", F.nll_loss, X, LABELS + 1),
    wrong("nll_loss;target;expected;(2,);got (2, 1)", F.nll_loss, X, LABELS[:, None]),
    mistyped("nll_loss;target;expected;got float32", F.nll_loss, X, jnp.ones(2)),
    wrong("nll_loss;weight;expected 3;got 4", F.nll_loss, X, LABELS, jnp.ones(4)),
    wrong("cross_entropy;input;expected;got ()", F.cross_entropy, jnp.ones(()), LABELS[0]),
    wrong("cross_entropy;ignore_index;expected;got 1", F.cross_entropy, X, Y, ignore_index=1),
    wrong(
        "linear_cross_entropy;input features;expected 4;got 3",
        F.linear_cross_entropy,
        X,
        jnp.ones((5, 4)),
        LABELS,
    ),
    wrong(
        "linear_cross_entropy;chunking_method;expected;got 'half'",
        F.linear_cross_entropy,
        X,
        jnp.ones((5, 3)),
        LABELS,
        options=F.LinearCrossEntropyOptions(chunking_method="half"),
    ),
    wrong(
        "linear_cross_entropy;target;expected;got 5",
        F.linear_cross_entropy,
        X,
        jnp.ones((5, 3)),
        LABELS + 3,
        options=F.LinearCrossEntropyOptions(),
    ),
    wrong("binary_cross_entropy;input;expected;got 2.0", F.binary_cross_entropy, 2 * X, Y),
    wrong("binary_cross_entropy;target;expected;got -1.0", F.binary_cross_entropy, X, -X),
    wrong(
        "with_logits;pos_weight;expected;got (2,)",
        F.binary_cross_entropy_with_logits,
        X,
        Y,
        pos_weight=jnp.ones(2),
    ),
    wrong("soft_margin_loss;target;expected;got (2,)", F.soft_margin_loss, X, jnp.ones(2)),
    wrong("multi_margin_loss;p;expected 1 or 2;got 3", F.multi_margin_loss, X, LABELS, 3),
    wrong("MultiMarginLoss;p;expected 1 or 2;got 3", fdl.nn.MultiMarginLoss, 3),
    wrong("MultiMarginLoss;weight;expected;got (2, 3)", fdl.nn.MultiMarginLoss, weight=X),
    wrong("multi_margin_loss;target;expected;got -1", F.multi_margin_loss, X, LABELS - 1),
    mistyped("multilabel_margin_loss;target;expected;got float32", F.multilabel_margin_loss, X, Y),
    wrong("margin_ranking_loss;target;expected;got (2,)", F.margin_ranking_loss, X, Y, jnp.ones(2)),
    wrong(
        "cosine_embedding_loss;target;expected;(2,);got (3,)",
        F.cosine_embedding_loss,
        X,
        Y,
        jnp.ones(3),
    ),
    wrong("TripletMarginLoss;margin;expected;got 0", fdl.nn.TripletMarginLoss, 0.0),
    wrong(
        "triplet_margin_loss;negative;expected;got shape (3,)", F.triplet_margin_loss, X, Y, X[0]
    ),
    wrong("pairwise_distance;x2;expected;got (2,)", F.pairwise_distance, X, jnp.ones(2)),
    wrong("cosine_similarity;dim;expected;got 2", F.cosine_similarity, X, Y, dim=2),
    wrong("pdist;p;expected;got -1", F.pdist, X, -1.0),
    wrong("ctc_loss;log_probs;expected;got (4,)", F.ctc_loss, TIMES[0, 0], LABELS, (5,), (2,)),
    wrong("ctc_loss;input_lengths;expected;got [6, 5]", F.ctc_loss, TIMES, NAMES, (6, 5), (1, 1)),
    wrong("ctc_loss;input_lengths;expected;got shape (1,)", F.ctc_loss, TIMES, NAMES, (5,), (1, 1)),
    wrong("ctc_loss;targets;expected 4;got 3", F.ctc_loss, TIMES, NAMES, (5, 5), (4, 1)),
    wrong("ctc_loss;targets;expected 2;got 3", F.ctc_loss, TIMES, jnp.ones(3, int), (5, 5), (1, 1)),
    wrong("ctc_loss;targets;expected;0 to 3;got 4", F.ctc_loss, TIMES, 4 * NAMES, (5, 5), (1, 1)),
    wrong("ctc_loss;blank;expected;got 4", F.ctc_loss, TIMES, NAMES, (5, 5), (1, 1), 4),
    mistyped("ctc_loss;targets;expected;got float32", F.ctc_loss, TIMES, X, (5, 5), (1, 1)),
    mistyped(
        "ctc_loss;target_lengths;expected;got float", F.ctc_loss, TIMES, NAMES, (5, 5), (1.0, 1.0)
    ),
    *(
        wrong("cutoffs;expected;got", fdl.nn.AdaptiveLogSoftmaxWithLoss, 4, 9, cutoffs, rngs=None)
        for cutoffs in ([], [0, 3], [3, 3], [5, 3], [9], [2.5])
    ),
]
