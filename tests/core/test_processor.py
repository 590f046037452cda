"""What /proc/cpuinfo says, by example and beside what lscpu makes of it."""

import subprocess

import pytest

from core import processor


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """cpuinfo(text) is what the system tells from then on."""

    def cpuinfo(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(processor, "CPUINFO", path)

    return cpuinfo


def test_of_this_machine():
    result = subprocess.run(["lscpu"], capture_output=True, text=True, check=True)
    told = dict(line.split(":", 1) for line in result.stdout.splitlines() if ":" in line)
    told = {key.strip(): value.strip() for key, value in told.items()}
    assert processor.name() == told["Model name"]
    assert processor.multiplies_bfloat16() == ("bf16" in told["Flags"])


def test_name(cpuinfo):
    cpuinfo("processor\t: 0\nmodel name\t: AMD EPYC: 4\nflags\t\t: fpu\n\nprocessor\t: 1\n")
    assert processor.name() == "AMD EPYC: 4"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512_bf16", True),
        ("amx_bf16 fpu", True),
        ("avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_bfloat16(cpuinfo, flags, expected):
    cpuinfo(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert processor.multiplies_bfloat16() is expected


@pytest.mark.parametrize("text", ["", "Processor: ARM\nFeatures: fp asimd bf16\n"])
def test_a_system_that_does_not_tell(cpuinfo, text):
    cpuinfo(text)
    assert processor.name() == ""
    assert not processor.multiplies_bfloat16()


def test_a_system_without_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert processor.name() == ""
    assert not processor.multiplies_bfloat16()
