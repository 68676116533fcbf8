"""Counterparts of ``torch.nn.functional``: pure, stateless, in torch's shapes and names."""

from fdl.functional.activation import relu, sigmoid, tanh
from fdl.functional.conv import conv2d
from fdl.functional.dropout import dropout
from fdl.functional.linear import linear
from fdl.functional.loss import cross_entropy, mse_loss
from fdl.functional.normalization import BatchNormOutput, batch_norm
from fdl.functional.pooling import max_pool2d
from fdl.functional.recurrent import LSTMWeights, lstm

__all__ = [
    "BatchNormOutput",
    "LSTMWeights",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "linear",
    "lstm",
    "max_pool2d",
    "mse_loss",
    "relu",
    "sigmoid",
    "tanh",
]
