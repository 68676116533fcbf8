"""Layers with torch's names, arguments, defaults and initialisers, usable in any NNX program."""

from fdl.nn import init
from fdl.nn._module import Module
from fdl.nn.activation import ReLU, Sigmoid, Tanh
from fdl.nn.batchnorm import BatchNorm2d
from fdl.nn.container import Sequential
from fdl.nn.conv import Conv2d
from fdl.nn.dropout import Dropout
from fdl.nn.flatten import Flatten
from fdl.nn.linear import Linear
from fdl.nn.pooling import MaxPool2d
from fdl.nn.recurrent import LSTM

__all__ = [
    "LSTM",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "init",
]
