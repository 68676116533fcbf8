"""SGD, RMSprop and other rules without Adam's moments, with every knob that ports get wrong."""

import numpy as np

from fdl.parity.causes._updates.rule import At, Memory, Options, averaged, root


def sgd(options: Options, at: At, memory: Memory) -> np.ndarray:
    """SGD.

    Knobs: `averaged`, the buffer is an average from the start; `rate_inside`, the learning rate is
    multiplied into what the buffer takes up.
    """
    momentum, inside = options["momentum"], options.get("rate_inside")
    scaled = at.rate * at.gradient if inside else at.gradient
    if momentum:
        if options.get("averaged"):
            buffer = averaged(memory, "buffer", momentum, scaled)
        elif "buffer" in memory:
            buffer = momentum * memory["buffer"] + (1 - options["dampening"]) * scaled
        else:
            buffer = scaled
        memory["buffer"] = buffer
        scaled = scaled + momentum * buffer if options["nesterov"] else buffer
    return scaled if inside else at.rate * scaled


def asgd(options: Options, at: At, memory: Memory) -> np.ndarray:
    """ASGD. Knob: `prompt`, a rate acts in the step that it is given for."""
    rate, decay = at.rate, options["lambd"]

    def slowed(count: int) -> float:
        return rate / (1 + decay * rate * count) ** options["alpha"]

    eta = slowed(at.count - 1) if options.get("prompt") else memory.get("eta", rate)
    memory["eta"] = slowed(at.count)
    return eta * (decay * at.parameter + at.gradient)


def rprop(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Rprop. Knobs: `delayed`, a step is made one step late; `keeps` going where signs turn."""
    (shrunk, grown), (least, most) = options["etas"], options["step_sizes"]
    turn = np.sign(at.gradient * memory.get("gradient", 0.0))
    factor = np.where(turn < 0, shrunk, np.where(turn > 0, grown, 1.0))
    size = memory.get("size", np.full_like(at.parameter, at.rate))
    memory["size"] = size = np.where(turn == 0, size, np.clip(size * factor, least, most))
    turned = (turn < 0) & (not options.get("keeps"))
    memory["gradient"] = gradient = np.where(turned, 0.0, at.gradient)
    step = size * np.sign(gradient)
    if not options.get("delayed"):
        return step
    late = np.where(turned, 0.0, memory.get("step", np.zeros_like(step)))
    memory["step"] = step
    return late


def rmsprop(options: Options, at: At, memory: Memory) -> np.ndarray:
    """RMSprop.

    Knobs: `place` of epsilon; `initial` second moment; `corrected` bias of it; `rate_inside`, the
    learning rate is multiplied into what the buffer takes up.
    """
    alpha, momentum, inside = options["alpha"], options["momentum"], options.get("rate_inside")
    memory.setdefault("square", options.get("initial", 0.0))
    square = averaged(memory, "square", alpha, at.gradient**2)
    if options["centered"]:
        square = square - averaged(memory, "mean", alpha, at.gradient) ** 2
    if options.get("corrected"):
        square = square / (1 - alpha**at.count)
    step = at.gradient / root(square, options["eps"], options["place"])
    step = at.rate * step if inside else step
    if momentum:
        memory["buffer"] = step = momentum * memory.get("buffer", 0.0) + step
    return step if inside else at.rate * step


def adagrad(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adagrad. Knobs: `place` of epsilon; `counted` from 0, the steps of the falling rate."""
    before = memory.get("sum", options["initial_accumulator_value"])
    memory["sum"] = total = before + at.gradient**2
    rate = at.rate / (1 + (at.count - options.get("counted", 1)) * options["lr_decay"])
    return rate * at.gradient / root(total, options["eps"], options["place"])


def adadelta(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adadelta. Knob: `place` of epsilon."""
    rho, eps, place = options["rho"], options["eps"], options["place"]
    square = averaged(memory, "square", rho, at.gradient**2)
    moved = root(memory.get("moved", np.zeros_like(square)), eps, place)
    step = moved / root(square, eps, place) * at.gradient
    averaged(memory, "moved", rho, step**2)
    return at.rate * step
