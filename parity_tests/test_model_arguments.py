"""Wrong arguments of factories: what was expected, what came, and the remedy."""

import pytest

import fdl


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fdl.models.mlp([10]), r"mlp: sizes: expected two or more positive numbers"),
        (lambda: fdl.models.autoencoder([10, 0]), r"autoencoder: sizes: .* got \[10, 0\]"),
        (lambda: fdl.models.cnn(image_size=(3, 28)), r"cnn: channels: .*\(3, 28\) pixels"),
        (lambda: fdl.models.unet(features=()), r"unet: features: expected one or more"),
        (
            lambda: fdl.models.resnet18(groups=2),
            r"BasicBlock: groups, .* got groups=2.*Use resnet50",
        ),
        (
            lambda: fdl.models.resnet50(replace_stride_with_dilation=(True,)),
            r"replace_stride_with_dilation: expected three booleans",
        ),
        (
            lambda: fdl.models.mobilenet_v2(inverted_residual_setting=[(1, 2, 3)]),
            r"mobilenet_v2: inverted_residual_setting: .* got \[\(1, 2, 3\)\]",
        ),
        (
            lambda: fdl.models.bert(fdl.models.BertConfig(num_attention_heads=5)),
            r"bert: num_attention_heads: expected a divisor of hidden_size=768, got 5",
        ),
        (
            lambda: fdl.models.bert(fdl.models.BertConfig(hidden_act="swish")),
            r"bert: hidden_act: expected one of .* got 'swish'",
        ),
        (
            lambda: fdl.models.language_model(10, 4, 8, tied=True),
            r"language_model: .*tied",
        ),
        (lambda: fdl.models.language_model(10, 4, 8, cell="elman"), r"cell: .* got 'elman'"),
        (lambda: fdl.models.variational_autoencoder([4, 2]), r"variational_autoencoder: sizes: "),
    ],
)
def test_wrong_arguments_say_what_is_expected(build, message):
    with pytest.raises(ValueError, match=message):
        build()
