"""Trajectories that torch's own table of optimizers does not try: more options, and bfloat16."""

import pytest
import torch
from trajectories import check_meaning, check_precision, fdl_run, fields, option, torch_run

OPTIONS = [
    option(name, factory, options)
    for name, factory, options in (
        ("SGD", "sgd", {"lr": 0.05, "dampening": 0.4, "maximize": True}),
        ("SGD", "sgd", {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1, "lr": 0.05}),
        ("SGD", "sgd", {"momentum": 0.8, "nesterov": True, "maximize": True, "lr": 0.05}),
        ("Adam", "adam", {"betas": (0.0, 0.99), "lr": 0.02}),
        ("Adam", "adam", {"betas": (0.0, 0.0)}),
        ("Adam", "adam", {"eps": 0.1, "lr": 0.02}),
        ("Adam", "adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("Adam", "adam", {"amsgrad": True, "maximize": True, "betas": (0.7, 0.9), "lr": 0.02}),
        ("AdamW", "adamw", {"weight_decay": 0.3, "amsgrad": True, "eps": 1e-3, "lr": 0.02}),
        ("AdamW", "adamw", {"weight_decay": 0.3, "maximize": True, "betas": (0.0, 0.5)}),
        ("Adadelta", "adadelta", {"rho": 1.0, "eps": 1e-2}),
        ("Adadelta", "adadelta", {"rho": 0.0}),
        ("Adafactor", "adafactor", {"lr": 0.5, "weight_decay": 0.05}),  # 1 / sqrt(t) is less soon
        ("Adafactor", "adafactor", {"beta2_decay": 0.0}),
        ("Adafactor", "adafactor", {"lr": 0.1, "eps": (1.5, 2.0), "d": 1.1}),
        ("Adafactor", "adafactor", {"lr": 0.1, "eps": (0.0, 0.0), "beta2_decay": -0.5}),
        (
            "Adagrad",
            "adagrad",
            {"eps": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
        ),
        ("Adamax", "adamax", {"betas": (0.0, 0.5), "eps": 0.1, "lr": 0.05}),
        ("ASGD", "asgd", {"t0": 20.0, "lambd": 0.05, "alpha": 0.5, "lr": 0.1}),
        ("ASGD", "asgd", {"t0": 0.0, "lambd": 0.0, "lr": 0.1, "maximize": True}),
        ("Muon", "muon", {"lr": 0.02, "momentum": 0.3, "nesterov": False, "weight_decay": 0.0}),
        ("Muon", "muon", {"lr": 0.02, "eps": 3.0}),
        ("Muon", "muon", {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw"}),
        ("Muon", "muon", {"lr": 0.02, "adjust_lr_fn": "original"}),
        ("NAdam", "nadam", {"betas": (0.7, 0.9), "eps": 0.1, "lr": 0.05}),
        (
            "NAdam",
            "nadam",
            {
                "momentum_decay": 0.0,
                "decoupled_weight_decay": True,
                "weight_decay": 0.3,
                "maximize": True,
            },
        ),
        ("RAdam", "radam", {"betas": (0.7, 0.9), "eps": 0.1, "lr": 0.05}),
        ("RAdam", "radam", {"betas": (0.0, 0.6), "lr": 0.05}),
        ("RAdam", "radam", {"betas": (0.9, 0.0)}),
        (
            "RAdam",
            "radam",
            {"betas": (0.9, 0.9999), "decoupled_weight_decay": True, "weight_decay": 0.3},
        ),
        ("RMSprop", "rmsprop", {"alpha": 0.5, "eps": 0.1, "momentum": 0.9}),
        ("RMSprop", "rmsprop", {"centered": True, "lr": 0.001}),
        ("Rprop", "rprop", {"step_sizes": (0.005, 0.02), "etas": (0.3, 1.7)}),
        ("Rprop", "rprop", {"lr": 0.001, "maximize": True}),
        ("SparseAdam", "sparse_adam", {"betas": (0.0, 0.5), "eps": 0.1, "lr": 0.05}),
    )
]


def each(options):
    return pytest.mark.parametrize("chosen", options, ids=[chosen.text for chosen in options])


@each(OPTIONS)
def test_every_step_equals_torch_in_float64(chosen):
    check_meaning(chosen)


@each(OPTIONS)
def test_every_step_is_as_precise_as_torchs_in_float32(chosen):
    check_precision(chosen)


LARGE = [
    option(name, factory, options)._replace(steps=5)
    for name, factory, options in (
        ("ASGD", "asgd", {"lr": 0.1, "t0": 2.0, "weight_decay": 0.1}),
        ("Adadelta", "adadelta", {"eps": 1e-2, "weight_decay": 0.1}),
        ("Adafactor", "adafactor", {"lr": 0.1, "weight_decay": 0.1}),
        ("Adagrad", "adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
        ("Adam", "adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1}),
        ("AdamW", "adamw", {"lr": 0.1, "weight_decay": 0.1}),
        ("Adamax", "adamax", {"lr": 0.1, "weight_decay": 0.1}),
        ("LBFGS", "lbfgs", {"lr": 0.1, "max_iter": 3}),
        ("Muon", "muon", {"lr": 0.1}),
        ("NAdam", "nadam", {"lr": 0.1, "weight_decay": 0.1}),
        ("RAdam", "radam", {"lr": 0.1, "weight_decay": 0.1}),
        ("RMSprop", "rmsprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1}),
        ("Rprop", "rprop", {"lr": 0.1}),
        ("SGD", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        ("SparseAdam", "sparse_adam", {"lr": 0.1}),
    )
]
"""Steps that bfloat16 does not round away."""
NUMBERS = {"step", "eta", "mu", "mu_product"}
"""What is one number for a parameter, and wide in torch too."""


@each(LARGE)
def test_bfloat16_parameters_are_as_precise_as_torchs(chosen):
    check_precision(chosen, "bfloat16", rounded=True)


@each(LARGE)
def test_state_of_bfloat16_parameters_has_torchs_dtypes(chosen):
    found = fields(next(fdl_run(chosen, "bfloat16")).state)
    compared = set()
    for name, state in torch_run(chosen, "bfloat16", changing=False).state.items():
        tensors = {k: v for k, v in state.items() if torch.is_tensor(v) and k not in NUMBERS}
        for key, tensor in tensors.items():
            its = found[key][name] if isinstance(found[key], dict) else found[key]
            assert f"torch.{its.dtype}" == str(tensor.dtype), (key, name)
            compared.add(key)
    assert compared
