"""What the system says of the processor."""

import pytest

from fdl import _processor

INFO = """processor\t: 0
vendor_id\t: {vendor}
model name\t: A : B

processor\t: 1
vendor_id\t: Other
"""


@pytest.fixture
def info(monkeypatch, tmp_path):
    monkeypatch.setattr(_processor, "_INFO", tmp_path / "cpuinfo")
    _processor.is_intel.cache_clear()
    yield tmp_path / "cpuinfo"
    _processor.is_intel.cache_clear()


@pytest.mark.parametrize(("vendor", "expected"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_the_first_processor_is_read(info, vendor, expected):
    info.write_text(INFO.format(vendor=vendor))
    assert _processor.described("model name") == "A : B"
    assert _processor.described("flags") == ""
    assert _processor.is_intel() is expected


def test_where_nothing_is_said_nothing_is_known(info):
    assert not info.exists()
    assert _processor.described("model name") == ""
    assert not _processor.is_intel()
