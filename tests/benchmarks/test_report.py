import io
import json

import pytest
from rich.console import Console

from benchmarks.report import WIDTH, Report


@pytest.fixture
def report():
    report = Report({"cpu": "abacus", "cores": 2}, {"rounds": 3})
    speed = report.section("speed", "How fast", {"net": "", "pixels": "d", "images/s": ".1f"})
    speed.add("lenet", 28, 1234.5678, seconds=[0.25, 0.5])
    speed.add("[alexnet]", 224, None)
    speed.note("Higher is better.")
    speed.note("Higher is better.")
    return report


def printed(report):
    file = io.StringIO()
    report.print(Console(file=file, width=WIDTH))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def cells(line):
    return [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]


def test_tables_show_numbers_in_the_format_of_their_column(report):
    lines = printed(report)
    assert lines[0] == "cpu abacus, cores 2"
    assert lines[2] == "How fast"
    assert cells(lines[4]) == ["net", "pixels", "images/s"]
    assert cells(lines[6]) == ["lenet", "28", "1234.6"]
    assert lines.count("Higher is better.") == 1


def test_what_was_not_measured_is_a_dash(report):
    assert cells(printed(report)[7])[1:] == ["224", "-"]


def test_json_holds_the_numbers_in_full_and_the_rounds(report):
    content = json.loads(report.to_json())
    assert content["machine"] == {"cpu": "abacus", "cores": 2}
    assert content["settings"] == {"rounds": 3}
    assert content["benchmarks"] == {
        "speed": {
            "title": "How fast",
            "rows": [
                {"net": "lenet", "pixels": 28, "images/s": 1234.5678, "seconds": [0.25, 0.5]},
                {"net": "[alexnet]", "pixels": 224, "images/s": None},
            ],
            "notes": ["Higher is better."],
        }
    }


def test_a_report_is_empty_until_a_row_is_there():
    report = Report({}, {})
    section = report.section("speed", "How fast", {"net": ""})
    assert report.is_empty()
    section.add("lenet")
    assert not report.is_empty()


def test_a_row_has_a_cell_for_each_column(report):
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        report.section("memory", "How much", {"net": "", "MB": "d"}).add("lenet")
