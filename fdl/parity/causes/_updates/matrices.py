"""Adafactor and Muon, whose step of an element depends on the whole array."""

import math

import ml_dtypes
import numpy as np

from fdl.parity.causes._updates.rule import At, Memory, Options, averaged
from fdl.parity.judge import root_mean_square


def adafactor(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adafactor.

    Knobs: `factored`, the second moment; `axes` of its factors; `capped`, the rate by the count of
    steps; `sized`, the step by the parameter; `clipped`, the step.
    """
    least, share = options["eps"]
    least = float(np.finfo(at.gradient.dtype).eps) if least is None else least
    weight = float(at.count) ** options["beta2_decay"]
    square = at.gradient**2
    axes = options.get("axes", (-1, -2))
    if at.gradient.ndim > 1 and options.get("factored", True):
        if at.gradient.ndim + min(axes) < 0:
            return np.full_like(square, np.nan)
        square = _product_of_means(square, axes, weight, least, memory)
    else:
        square = averaged(memory, "square", 1 - weight, square)
    step = at.gradient / np.sqrt(np.maximum(square, least**2))
    if options.get("clipped", True):
        step = step / max(1.0, root_mean_square(step) / options["d"])
    rate = min(at.rate, 1 / math.sqrt(at.count)) if options.get("capped", True) else at.rate
    size = max(share, root_mean_square(at.parameter)) if options.get("sized", True) else 1.0
    return size * rate * step


def _product_of_means(
    square: np.ndarray, axes: tuple[int, int], weight: float, least: float, memory: Memory
) -> np.ndarray:
    row, column = (
        averaged(memory, f"mean {axis}", 1 - weight, square.mean(axis, keepdims=True))
        for axis in axes
    )
    return row * column / np.maximum(row.mean(axes[1], keepdims=True), least)


def muon(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Muon.

    Knobs: `turned`, the matrix is transposed; `summed`, the buffer is no average; `precise`, the
    iteration does not round to bfloat16.
    """
    momentum = options["momentum"]
    if options.get("summed"):
        memory["buffer"] = buffer = momentum * memory.get("buffer", 0.0) + at.gradient
        step = momentum * buffer + at.gradient if options["nesterov"] else buffer
    else:
        buffer = averaged(memory, "buffer", momentum, at.gradient)
        step = momentum * buffer + (1 - momentum) * at.gradient if options["nesterov"] else buffer
    turned = options.get("turned")
    step = step.T if turned else step
    rows, columns = step.shape
    scale = math.sqrt(max(1.0, rows / columns))
    if options.get("adjust_lr_fn") == "match_rms_adamw":
        scale = 0.2 * math.sqrt(max(rows, columns))
    step = at.rate * scale * _orthogonalised(options, step)
    return step.T if turned else step


def _orthogonalised(options: Options, matrix: np.ndarray) -> np.ndarray:
    """Newton-Schulz: sums in a wide dtype, each result rounded once."""

    def rounded(x: np.ndarray) -> np.ndarray:
        if options.get("precise"):
            return x
        return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)

    a, b, c = options["ns_coefficients"]
    tall = matrix.shape[0] > matrix.shape[1]
    x = rounded(matrix.T if tall else matrix)
    x = rounded(x / max(float(rounded(np.array(np.linalg.norm(x)))), options["eps"]))
    for _ in range(options["ns_steps"]):
        gram = rounded(x @ x.T)
        x = rounded(a * x + rounded(b * gram + c * gram @ gram) @ x)
    return x.T if tall else x
