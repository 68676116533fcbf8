"""Strict JAX for every test: no silent promotion; hypothesis without deadlines."""

import jax
import torch
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
torch.set_num_threads(1)  # the test workers share the cores, and torch's threads wait by spinning
settings.register_profile("default", deadline=None, max_examples=30)
settings.load_profile("default")


def pytest_terminal_summary(terminalreporter):
    """Prints the figures of the planted-fault suite: how many were found, placed, explained."""
    results = [
        dict(report.user_properties)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    ]
    faults = [result for result in results if "fault" in result]
    pairs = [result for result in results if "pair" in result]
    if not faults and not pairs:
        return
    terminalreporter.section("planted faults")
    for word in ("detected", "located", "explained"):
        count = sum(bool(fault.get(word)) for fault in faults)
        share = f"{count / len(faults):.1%}" if faults else "-"
        terminalreporter.write_line(f"{word:>9}: {count} of {len(faults)} ({share})")
    alarms = sum(not pair.get("silent") for pair in pairs)
    terminalreporter.write_line(f"    false: {alarms} alarms about {len(pairs)} correct pairs")
