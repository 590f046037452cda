"""CSV files, read back."""

import csv

import pytest

from core import csv_table


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_is_no_formula(start):
    assert csv_table.text(f"{start}1+1") == f"'{start}1+1"
    assert csv_table.text(f"1{start}1") == f"1{start}1"


def test_write(tmp_path):
    rows = [["a,b", 1.5, None], ['say "x"\nthen', -2, "=SUM(A1)"]]
    csv_table.write(tmp_path / "table.csv", ["name", "number", "text"], rows)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "number", "text"],
            ["a,b", "1.5", ""],
            ['say "x"\nthen', "-2", "'=SUM(A1)"],
        ]


def test_rows_are_written_as_they_come(tmp_path):
    """All rows of a large split at once would take gigabytes: here each has the same list."""

    def rows():
        row = [0]
        for row[0] in range(3):
            yield row

    csv_table.write(tmp_path / "table.csv", ["number"], rows())
    assert (tmp_path / "table.csv").read_text().split() == ["number", "0", "1", "2"]


def test_a_row_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")

    def rows():
        yield ["a"]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        csv_table.write(path, ["name"], rows())
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "before"
