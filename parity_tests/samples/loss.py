"""Losses and distances: what torch's table lacks, and exact kinks, ties and extremes."""

import math
from functools import partial

import torch

import fdl
import fdl.functional as F
from samples.loss_refusals import REFUSED
from samples.sample import MODULES, Sample

MODULES["PairwiseDistance"] = lambda m, _: fdl.nn.PairwiseDistance(m.norm, m.eps, m.keepdim)

GENERATOR = torch.Generator().manual_seed(0)
INF, NAN = math.inf, math.nan


def normal(*shape: int, grad: bool = True) -> torch.Tensor:
    drawn = torch.randn(shape, generator=GENERATOR, dtype=torch.float64)
    return drawn.requires_grad_() if grad else drawn


def floats(*values: object, grad: bool = True) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).requires_grad_(grad)


def integers(*values: object) -> torch.Tensor:
    return torch.tensor(values)


def log_probs(*shape: int) -> torch.Tensor:
    return normal(*shape, grad=False).log_softmax(-1).requires_grad_()


def called(name: str, options: dict, *inputs: object) -> Sample:
    """A function, whose tensors among the options are given with the inputs."""
    named = {k: v for k, v in options.items() if torch.is_tensor(v)}
    plain = {k: v for k, v in options.items() if k not in named}
    return Sample(name, (), plain, inputs, named)


WEIGHT = floats(0.5, 2.0, 0.0, grad=False)
SIGNS = floats(1, -1, 1, -1, 1, grad=False)
ZEROS = floats(0, 0, 0, 0, 0, 0, 0, grad=False)
KINKS = floats(0, 0.5, -0.5, 2, INF, -INF, NAN)
NONE = {"reduction": "none"}


class WeightedL1(torch.nn.Module):
    """Torch's l1_loss; it forgets the weight where its calls are watched, as the engine does."""

    def forward(self, input, target, weight):
        with torch._C.DisableTorchFunction():
            return torch.nn.functional.l1_loss(input, target, weight=weight)


class FdlWeightedL1(fdl.nn.Module):
    """The same of fdl's."""

    def __call__(self, input, target, weight):
        return F.l1_loss(input, target, weight=weight)


REGRESSION = [
    Sample(
        "l1_loss",
        inputs=(normal(3, 2), normal(3, 2), normal(3, 2, grad=False).abs()),
        label="weighted",
        builders=(WeightedL1, lambda _: FdlWeightedL1()),
    ),
    called("smooth_l1_loss", {"beta": 0.3}, normal(3, 2), normal(3, 2)),
    called("huber_loss", {"delta": 0.3}, normal(3, 2), normal(3, 2)),
    called("l1_loss", NONE, KINKS, ZEROS),
    called("smooth_l1_loss", {**NONE, "beta": 0.5}, KINKS, ZEROS),
    called("smooth_l1_loss", {**NONE, "beta": 0}, KINKS, ZEROS),
    called("huber_loss", {**NONE, "delta": 0.5}, KINKS, ZEROS),
    *(
        called(name, {"weight": normal(3, 2, grad=False).abs(), "reduction": how}, *inputs)
        for name in ("mse_loss", "huber_loss")
        for how, inputs in (("mean", (normal(3, 2), normal(3, 2))),)
    ),
    called("mse_loss", {"weight": WEIGHT, "reduction": "sum"}, normal(3), normal(3)),
    called(
        "poisson_nll_loss",
        {**NONE, "full": True, "log_input": False},
        floats(0, 1, 2.5, 3),
        floats(0, 1, 2, 5),
    ),
    called("poisson_nll_loss", {"full": True}, normal(4), integers(0, 1, 2, 3)),
    called(
        "gaussian_nll_loss",
        {**NONE, "full": True},
        normal(5),
        normal(5),
        floats(0, 1e-6, 1e-7, 2, INF),
    ),
    called("gaussian_nll_loss", {}, normal(4, 3), normal(4, 3), floats(1, 2, 3, 0.1)),
    called("gaussian_nll_loss", {"var": 0.5}, normal(4, 3), normal(4, 3)),
    called("kl_div", NONE, floats(-INF, 0, -1, -INF), floats(0, 0, 0.5, 0.5)),
    called("kl_div", {**NONE, "log_target": True}, floats(-2, 0, -1), floats(-INF, 0, -1)),
]

CLASSES = [
    *(
        called("cross_entropy", {"weight": w, "label_smoothing": 0.1}, normal(1, 3), target)
        for w in (floats(0, 1, 2, grad=False), None)
        for target in (integers(0), integers(-100))
    ),
    called(
        "cross_entropy",
        {"weight": WEIGHT, "label_smoothing": 0.2},
        normal(2, 3, 4),
        normal(2, 3, 4, grad=False).softmax(1).requires_grad_(),
    ),
    called("cross_entropy", {**NONE, "weight": WEIGHT}, normal(3), integers(2).squeeze()),
    called("cross_entropy", {}, floats([1, -INF, 2], [INF, 0, 0], [-INF, 0, 1]), integers(0, 0, 1)),
    called("nll_loss", {"weight": WEIGHT, "ignore_index": 1}, normal(3, 3), integers(0, 1, 1)),
    called("nll_loss", {}, normal(3), integers(-100).squeeze()),
    called("nll_loss", {}, normal(0, 3), torch.zeros(0, dtype=torch.int64)),
    called(
        "binary_cross_entropy",
        {**NONE, "weight": normal(5, grad=False)},
        floats(0, 0, 1, 1, 0.3),
        floats(0, 1, 1, 0, 0.5),
    ),
    called(
        "binary_cross_entropy_with_logits",
        {"pos_weight": WEIGHT, "weight": normal(4, 1, grad=False)},
        normal(4, 3),
        torch.rand(4, 3, generator=GENERATOR, dtype=torch.float64).requires_grad_(),
    ),
    Sample("BCEWithLogitsLoss", (), {"pos_weight": WEIGHT}, (normal(4, 3), normal(4, 3).sigmoid())),
    called(
        "binary_cross_entropy_with_logits",
        NONE,
        floats(-INF, -INF, INF, INF, NAN, -800),
        floats(0, 1, 0, 1, 0, 0.5),
    ),
    called("soft_margin_loss", NONE, floats(-800, 800, 0, -INF, INF), floats(*[1] * 5).detach()),
    called("multilabel_soft_margin_loss", {"weight": WEIGHT}, normal(3), floats(1, 0, 1)),
]

MARGINS = [
    called(
        "multi_margin_loss",
        {**NONE, "p": p, "weight": WEIGHT},
        floats([1, 0, 0], [0, 0, 1], [0.3, INF, 0]),
        integers(0, 2, 1),
    )
    for p in (1, 2)
] + [
    called("multi_margin_loss", {**NONE, "margin": 0.5}, normal(3), integers(1).squeeze()),
    called(
        "multilabel_margin_loss",
        NONE,
        floats([1, 0, 0], [0, 0, 1], [0.3, 5, 0]),
        integers([0, -1, 1], [2, 2, -1], [-1, 0, 0]),
    ),
    called(
        "hinge_embedding_loss",
        NONE,
        floats(1, 0, 0.5, NAN, 3),
        floats(-1, 1, 2, -1, -1, grad=False),
    ),
    called("hinge_embedding_loss", {}, normal(3), integers(-1, 1, -1)),
    called(
        "margin_ranking_loss",
        {**NONE, "margin": 0.5},
        floats(0.5, 0, 1, 0.5, 2),
        floats(0, 0.5, 0, 0, NAN),
        SIGNS,
    ),
    called("margin_ranking_loss", {}, floats(0, 1), floats(0, 2), integers(1, -1)),
    called(
        "cosine_embedding_loss",
        NONE,
        floats([0, 0], [1, 0], [1, 0], [0, 2], [1, 1]),
        floats([1, 1], [0, 1], [1, 0], [1, 0], [0, 0]),
        SIGNS,
    ),
    Sample(
        "CosineEmbeddingLoss", (), {"margin": 0.3}, (normal(3), normal(3), integers(-1).squeeze())
    ),
]

TRIPLET = [
    Sample("TripletMarginLoss", (), options, (normal(4, 3), normal(4, 3), normal(4, 3)))
    for options in (
        {},
        {"swap": True, "reduction": "sum"},
        {"p": 1, "margin": 0.2, "reduction": "none"},
        {"p": INF, "swap": True},
        {"p": 3.5, "eps": 1e-3},
    )
] + [
    Sample("TripletMarginLoss", (), {}, (normal(3), normal(3), normal(3)), label="one"),
    called("triplet_margin_loss", {"swap": True}, normal(4, 3), normal(4, 3), normal(4, 3)),
    Sample(
        "triplet_margin_loss",
        (),
        {**NONE, "eps": 0, "swap": True},
        (floats([0, 0], [0, 0]), floats([1, 0], [0, 0]), floats([0.5, 1], [1, 0])),
        label="ties",
    ),
    Sample("TripletMarginWithDistanceLoss", (), {}, (normal(4, 3), normal(4, 3), normal(4, 3))),
    Sample(
        "TripletMarginWithDistanceLoss",
        (),
        {"distance_function": torch.nn.functional.cosine_similarity, "swap": True},
        (normal(4, 3), normal(4, 3), normal(4, 3)),
    ),
    Sample(
        "TripletMarginWithDistanceLoss",
        (),
        {"distance_function": torch.nn.PairwiseDistance(1.0), "reduction": "sum", "margin": 2.0},
        (normal(4, 3), normal(4, 3), normal(4, 3)),
    ),
]

PAIR = (floats([0, 0], [1, -1], [1, 0]), floats([0, 0], [0, 0], [2, 0]))
POINTS = floats([0, 0], [1, -1], [1, 0], [1, 0])

DISTANCES = [
    *(
        Sample("PairwiseDistance", (), {"p": p, "eps": 0.0}, PAIR)
        for p in (0, 0.5, 1, 1.5, 2, 3, -1, INF, -INF)
    ),
    Sample("PairwiseDistance", (), {"keepdim": True}, (normal(4, 3), normal(4, 3))),
    Sample("PairwiseDistance", (), {}, (normal(2, 1, 3), normal(4, 3))),
    Sample("PairwiseDistance", (), {}, (normal(3), normal(3))),
    Sample("CosineSimilarity", (), {}, (normal(4, 3), normal(4, 3))),
    Sample("CosineSimilarity", (), {"dim": -1, "eps": 10.0}, (normal(2, 1, 3), normal(4, 3))),
    Sample(
        "CosineSimilarity",
        (),
        {},
        (floats([0, 0], [1e-9, 0], [1, 0], [INF, 1]), floats([1, 2], [1, 1], [2, 0], [1, 1])),
        label="extremes",
    ),
    *(called("pdist", {"p": p}, POINTS) for p in (0, 0.5, 1, 2, 3, INF)),
    called("pdist", {}, normal(5, 3)),
]

SEQUENCES = log_probs(6, 3, 4)
ROWS = integers([1, 2, 2, 3], [3, 3, 1, -7], [2, 9, 9, 9])
COUNTS = integers(4, 3, 1)

CTC = [
    Sample("CTCLoss", (), options, (log_probs(6, 3, 4), ROWS, lengths, COUNTS), label=label)
    for label, options, lengths in (
        ("repeats", {}, integers(6, 5, 3)),
        ("impossible", NONE, integers(4, 3, 2)),
        ("zero infinity", {"zero_infinity": True}, integers(4, 3, 2)),
        ("no frames", NONE, integers(6, 0, 1)),
    )
] + [
    Sample("CTCLoss", (), {"reduction": "sum"}, (SEQUENCES, ROWS, (6, 6, 6), (4, 3, 0))),
    Sample("CTCLoss", (), {}, (SEQUENCES, integers(1, 2, 2, 3), (6, 6, 5), (2, 0, 2))),
    Sample(
        "CTCLoss",
        (),
        {},
        (SEQUENCES, integers(1, 2, 2, 3), integers(6, 6, 5), integers(2, 0, 2)),
        label="row of unknown lengths",
    ),
    Sample("CTCLoss", (), {"blank": 3}, (log_probs(5, 4), integers(0, 0), (5,), (2,))),
    Sample(
        "CTCLoss",
        (),
        NONE,
        (log_probs(5, 4), integers(0, 1), integers(4).squeeze(), integers(2).squeeze()),
        label="one",
    ),
    Sample(
        "CTCLoss",
        (),
        NONE,
        (floats([[-INF, -1, -0.5]], [[-1, -INF, -0.5]], [[-1, -1, -1]]), integers([2]), (3,), (1,)),
        label="impossible classes",
    ),
]


class TorchMethod(torch.nn.Module):
    """A method of torch's adaptive softmax as a module."""

    def __init__(self, method: str):
        super().__init__()
        self.layer = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], head_bias=True)
        self.method = method

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return getattr(self.layer, self.method)(input)


class FdlMethod(fdl.nn.Module):
    """The same of fdl's."""

    def __init__(self, method: str, rngs):
        self.layer = fdl.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], head_bias=True, rngs=rngs)
        self.method = method

    def __call__(self, input):
        return getattr(self.layer, self.method)(input)


ADAPTIVE = [
    Sample(
        "AdaptiveLogSoftmaxWithLoss", (8, 12, [3, 7]), {}, (normal(5, 8), integers(0, 2, 3, 11, 7))
    ),
    Sample(
        "AdaptiveLogSoftmaxWithLoss",
        (8, 12, [5]),
        {"div_value": 2.0, "head_bias": True},
        (normal(3, 8), integers(4, 0, 1)),
    ),
    Sample("AdaptiveLogSoftmaxWithLoss", (8, 12, [2, 4]), {}, (normal(8), integers(9).squeeze())),
    *(
        Sample(
            "AdaptiveLogSoftmaxWithLoss",
            inputs=(normal(6, 8),),
            label=method,
            builders=(partial(TorchMethod, method), partial(FdlMethod, method)),
        )
        for method in ("log_prob", "predict")
    ),
]

SAMPLES: list[Sample] = [*REGRESSION, *CLASSES, *MARGINS, *TRIPLET, *DISTANCES, *CTC, *ADAPTIVE]

__all__ = ["REFUSED", "SAMPLES"]
