"""The files of a comparison, of values made by hand."""

import base64
import csv
import html.parser
import json

import numpy as np
import PIL.Image
import pytest

from engine import metrics
from engine.scores import Scores
from inference.comparison import plots, tables, writing
from inference.comparison.online import Spread
from inference.comparison.tables import OFFLINE, ONLINE, Comparison, Table

NAMES = ("small", '<b>&"[red]$x$', "large")
VOID = {"meta", "img", "link", "br"}


def scored():
    scores = Scores(2)
    scores.add(np.float32([[1, 0], [0, 1], [1, 0], [1, 0]]), np.array([0, 1, 1, 0]))
    return metrics.compute(scores, ("cat", "dog"))


def comparison(speed=True):
    top_1, latency = (0.75, 0.5, 0.75), (2.0, 3.0, 50.0)
    offline = {
        name: {"top_1": top_1[i], "flops": 10 ** (3 + i), "no_column": 1, "mcc": None}
        for i, name in enumerate(NAMES)
    }
    offline["small"]["mcc"] = -0.25
    online = {
        name: {"latency_ms": Spread(latency[i], 1.0, 60.0), "best_batch": Spread(8, 8, 8)}
        for i, name in enumerate(NAMES)
    }
    return Comparison(
        {name: f"lenet, 8x8 pixels: runs/{name}" for name in NAMES},
        {"cpu": "A & B", "cores": 2},
        {"repeats": 3, "runs": "a,b"},
        Table("Offline: 4 images", OFFLINE, offline),
        Table("Online: <here>", ONLINE, online) if speed else None,
        {"small": scored()},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The directory of a comparison that was written."""
    directory = tmp_path_factory.mktemp("written") / "new"
    writing.write(comparison(), directory)
    return directory


def test_the_files(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(writing.FILES)


def test_text(written):
    lines = (written / "comparison.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "cpu A & B, cores 2"
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert rows[:3] == [
        ["small", "*75.00", "-0.2500", "*1.00 k"],
        ['<b>&"[red]$x$', "50.00", "-", "10.0 k"],
        ["large", "*75.00", "-", "100 k"],
    ]
    assert rows[3:5] == [["small", "*2.00", "8"], ["", "1.00\N{EN DASH}60.0", ""]]
    assert lines[-1].startswith("Pareto front of top-1 against latency, the fastest first: small. ")


def test_csv(written):
    def read(name):
        with (written / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    offline, online = read("offline.csv"), read("online.csv")
    assert list(offline[0]) == ["model", *(column.key for column in OFFLINE)]
    assert [row["model"] for row in offline] == list(NAMES)
    assert [row["mcc"] for row in offline] == ["-0.25", "", ""]
    assert [row["flops"] for row in offline] == ["1000", "10000", "100000"]
    spread = ("latency_ms", "latency_ms_lowest", "latency_ms_highest")
    assert [online[2][key] for key in spread] == ["50.0", "1.0", "60.0"]
    assert online[2]["peak_mb"] == ""


def test_json(written):
    content = json.loads((written / "comparison.json").read_text(encoding="utf-8"))
    assert content["machine"] == {"cpu": "A & B", "cores": 2}
    assert content["settings"] == {"repeats": 3, "runs": "a,b"}
    assert content["models"]["large"] == "lenet, 8x8 pixels: runs/large"
    assert content["offline"]["large"]["top_1"] == 0.75
    assert content["offline"]["large"]["mcc"] is None
    assert content["online"]["large"]["latency_ms"] == {
        **{"median": 50.0, "lowest": 1.0, "highest": 60.0}
    }
    assert content["online"]["large"]["peak_mb"] is None
    assert content["best"]["offline"]["top_1"] == ["small", "large"]
    assert content["best"]["offline"]["mcc"] == []
    assert content["best"]["online"]["latency_ms"] == ["small"]
    assert content["pareto_front"] == ["small"]
    assert content["metrics"]["small"]["values"]["top_1"] == 0.75
    assert content["metrics"]["small"]["per_class"][1]["recall"] == 0.5  # one dog of two


class Page(html.parser.HTMLParser):
    """Reads a page; fails where a tag is closed that is not the last that was opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.cells, self.addresses = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img":
            self.images.append(attrs["src"])
        if tag in ("td", "th"):
            self.cells.append([tag, attrs.get("class", ""), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open) and "small" not in self.open and "span" not in self.open:
            self.cells[-1][2] += data


def test_page(written):
    text = (written / "comparison.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.cells[4:12] == [
        *(["th", "", "small"], ["td", "best", "75.00"], ["td", "", "-0.2500"]),
        *(["td", "best", "1.00 k"], ["th", "", '<b>&"[red]$x$'], ["td", "", "50.00"]),
        *(["td", "", "-"], ["td", "", "10.0 k"]),
    ]
    assert "<small>1.00\N{EN DASH}60.0</small>" in text
    prefix = "data:image/png;base64,"
    pictures = [base64.b64decode(source.removeprefix(prefix)) for source in page.images]
    files = ("pareto.png", "offline.png", "online.png")
    assert pictures == [(written / name).read_bytes() for name in files]
    assert all(address.startswith(prefix) for address in page.addresses)
    assert "http://" not in text
    assert "https://" not in text


def test_pictures(written):
    for name in ("offline.png", "online.png", "pareto.png"):
        with PIL.Image.open(written / name) as picture:
            picture.load()
            assert (picture.format, min(picture.size) > 150) == ("PNG", True)


def test_there_is_a_panel_per_column_but_for_the_batch_size():
    found = comparison()
    titles = [axes.get_title(loc="left") for axes in plots.bars(found.offline).axes]
    assert [title.split()[0] for title in titles] == ["top-1,", "MCC", "FLOPs"]
    (latency,) = plots.bars(found.online).axes
    assert latency.get_title(loc="left").startswith("latency, ms")


def test_bars_have_the_lengths_of_the_values_and_the_colour_of_the_best():
    figure = plots.bars(comparison().offline)
    top_1, mcc, _ = figure.axes
    assert top_1.get_title(loc="left") == "top-1, % \N{UPWARDS ARROW}"
    assert [bar.get_width() for bar in top_1.patches] == [0.75, 0.5, 0.75]
    first, second, third = (bar.get_facecolor() for bar in top_1.patches)
    assert first == third != second
    assert [bar.get_width() for bar in mcc.patches] == [-0.25, 0, 0]
    assert [text.get_text() for text in mcc.texts] == ["-0.2500", "-", "-"]


def test_the_front_is_drawn_as_a_staircase():
    points = {
        "a": (0.5, Spread(1, 1, 2)),
        "b": (0.4, Spread(5, 4, 6)),
        "c": (0.9, Spread(20, 9, 30)),
    }
    figure = plots.pareto(
        points, tables.pareto_front({"a": (0.5, 1), "b": (0.4, 5), "c": (0.9, 20)})
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"  # 20 times as slow
    (stairs,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    assert stairs.get_xydata().tolist() == [[1, bottom], [1, 50], [20, 90], [right, 90]]
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b", "c"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for one in boxes for other in boxes if one is not other)


def test_names_that_have_no_place_are_left_out_unless_they_are_of_the_front():
    points = {f"beaten {n}": (0.5, Spread(10, 10, 10)) for n in range(60)}
    points["best"] = (0.500001, Spread(9.99999, 9, 11))
    (axes,) = plots.pareto(points, ["best"]).axes
    assert "best" in {text.get_text() for text in axes.texts}
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) < 60
    assert not any(one.overlaps(other) for one in boxes for other in boxes if one is not other)


def test_what_an_earlier_comparison_left_goes(tmp_path):
    (tmp_path / "notes").write_text("mine")
    writing.write(comparison(), tmp_path)
    paths = writing.write(comparison(speed=False), tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    gone = {"online.csv", "online.png", "pareto.png"}
    assert there == {"notes", *writing.FILES} - gone
    assert [path.name for path in paths] == [name for name in writing.FILES if name not in gone]
    content = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert "online" not in content
    assert content["pareto_front"] == []


def test_a_single_table_as_csv_without_spreads():
    table = Table("", OFFLINE[:2], {"a, b": {"top_1": 1.0}})
    assert writing.csv_rows(table) == (["model", "top_1", "top_3"], [["a, b", 1.0, None]])
