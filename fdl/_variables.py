"""Variables of Flax, written as a whole.

``variable[...] = value`` asks the value for its sharding first. A traced one has none, and says so
in an error that searches all that was traced before (Flax 0.12): tracing ResNet-50 in training
took 8.2 s instead of 2.3, and BERT's initial weights 11.1 instead of 2.9, on a busy machine.
"""

import jax
from flax import nnx


def assign(variable: nnx.Variable, value: jax.Array) -> None:
    """Gives a variable a value of its own shape and dtype."""
    variable.set_value(value)


class Stream(nnx.RngStream):
    """A random stream as Flax's own, which writes its count as a whole."""

    def __call__(self) -> jax.Array:
        """The next key."""
        key = jax.random.fold_in(self.key[...], self.count[...])
        assign(self.count, self.count[...] + 1)
        return key


def streams(key: jax.Array | int) -> nnx.Rngs:
    """The one stream that a network draws from while it is built."""
    rngs = nnx.Rngs(key)
    rngs.default = Stream(key, tag="default")  # pyrefly: ignore
    return rngs
