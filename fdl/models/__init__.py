"""Networks: each factory returns a :class:`fdl.Model` whose keys are its PyTorch counterpart's."""

from fdl.models import surgery
from fdl.models.alexnet import alexnet
from fdl.models.autoencoder import autoencoder, denoising, gaussian_noise, masking_noise
from fdl.models.bert import BertModelOutput, bert
from fdl.models.bert_config import BertConfig
from fdl.models.bert_heads import (
    bert_for_masked_lm,
    bert_for_sequence_classification,
    bert_for_token_classification,
)
from fdl.models.cnn import cnn
from fdl.models.conv_autoencoder import conv_autoencoder
from fdl.models.efficientnet_lite import efficientnet_lite0
from fdl.models.face_detection import Faces, detect_faces
from fdl.models.generation import generate
from fdl.models.glove import glove, glove_loss
from fdl.models.language_model import language_model
from fdl.models.lenet import lenet5
from fdl.models.mlp import mlp
from fdl.models.mobilenet_v2 import mobilenet_v2
from fdl.models.mtcnn import onet, pnet, rnet
from fdl.models.pretrained import pretrained
from fdl.models.recurrent import gru, lstm, rnn
from fdl.models.regression import linear_regression, logistic_regression
from fdl.models.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from fdl.models.sentence import sentence_bert
from fdl.models.unet import unet
from fdl.models.variational_autoencoder import (
    VariationalOutput,
    elbo,
    kl_from_standard_normal,
    variational_autoencoder,
)
from fdl.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from fdl.models.word2vec import negative_sampling, negative_sampling_loss, word2vec

__all__ = [
    "BertConfig",
    "BertModelOutput",
    "Faces",
    "VariationalOutput",
    "alexnet",
    "autoencoder",
    "bert",
    "bert_for_masked_lm",
    "bert_for_sequence_classification",
    "bert_for_token_classification",
    "cnn",
    "conv_autoencoder",
    "denoising",
    "detect_faces",
    "efficientnet_lite0",
    "elbo",
    "gaussian_noise",
    "generate",
    "glove",
    "glove_loss",
    "gru",
    "kl_from_standard_normal",
    "language_model",
    "lenet5",
    "linear_regression",
    "logistic_regression",
    "lstm",
    "masking_noise",
    "mlp",
    "mobilenet_v2",
    "negative_sampling",
    "negative_sampling_loss",
    "onet",
    "pnet",
    "pretrained",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "rnet",
    "rnn",
    "sentence_bert",
    "surgery",
    "unet",
    "variational_autoencoder",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "word2vec",
]
