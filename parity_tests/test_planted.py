"""Every planted fault is found, in the right place, and explained; nothing else gives an alarm."""

import pytest
from faults import FAULTS, PAIRS

ENOUGH = 0.85


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found_and_explained(fault, record_property):
    report = fault.pair.compared(*fault.precisions)
    record_property("fault", fault.name)
    assert not report.equal
    first = report.first_divergence
    assert first is not None, report
    record_property("detected", True)
    assert (first.module, first.phase, first.step) == (fault.module, fault.phase, fault.step), first
    record_property("located", True)
    name = first.causes[0].name if first.causes else ""
    record_property("explained", bool(name) and name == fault.cause)
    assert name == fault.cause, first.causes


@pytest.mark.parametrize("name", PAIRS)
def test_a_correct_pair_means_the_same(name, record_property):
    assert_silent(name, "float64", record_property)


@pytest.mark.optimised
@pytest.mark.parametrize("name", PAIRS)
def test_a_correct_pair_is_as_precise(name, record_property):
    assert_silent(name, "float32", record_property)


def assert_silent(name, precision, record_property):
    report = PAIRS[name].compared(precision)
    record_property("pair", name)
    record_property("silent", report.equal)
    assert report.equal, str(report)


def test_names_are_unique():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))


def test_most_causes_are_named():
    explained = [fault.name for fault in FAULTS if fault.cause]
    assert len(explained) >= ENOUGH * len(FAULTS)
