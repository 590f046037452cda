"""Figures of an evaluation: what is drawn, read from the figures, and the files they become."""

import io
import types
import warnings

import numpy as np
import PIL.Image
import pytest
from matplotlib.colors import to_rgb

from engine.report import plots

ODD_NAMES = ["$x_1^2$ for $5", "_a_b", "日本\n語\ud800", "n" * 100]


def rendered(figure):
    """What `png` makes of a figure, decoded; no warning may come of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(PIL.Image.open(io.BytesIO(plots.png(figure))))


def drawn(text):
    """What a reader sees of a text: not how `$` is kept from starting a formula."""
    assert text._preprocess_math(text.get_text())[1] is False
    return text._preprocess_math(text.get_text())[0]


def legend(figure):
    """The entries of the legend, in order."""
    return [drawn(text) for text in figure.legends[0].get_texts()]


def line(figure, label):
    """x and y of the curve whose entry in the legend ends with that."""
    lines = figure.axes[0].lines
    (found,) = (one for one in lines if one.get_label().split("  ")[-1] == label)
    return [values.tolist() for values in found.get_data()]


def test_confusion_matrix_is_coloured_by_the_share_of_the_row():
    figure = plots.confusion_matrix(np.array([[6, 2, 0], [0, 1, 3], [0, 0, 0]]), ["a", "b", "c"])
    axes = figure.axes[0]
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), [[0.75, 0.25, 0], [0, 0.25, 0.75], [0, 0, 0]])
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("label", "prediction")
    for ticks in (axes.get_yticklabels(), axes.get_xticklabels()):
        assert [(sum(t.get_position()), t.get_text()) for t in ticks] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    # Of row "a", column "b": x is the prediction.
    assert counts[1, 0] == "2"
    assert [counts[x, y] for y in range(3) for x in range(3)] == list("620013000")


def test_counts_stand_out_from_their_cells():
    counts = np.diag(np.arange(55, 95, 2)) + np.diag(np.arange(45, 7, -2), 1)
    figure = plots.confusion_matrix(counts, ["x"] * 20)
    image = figure.axes[0].images[0]
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        cell = np.array(image.cmap(image.norm(image.get_array()[y, x]))[:3])
        ink, paper = (luminance(colour) for colour in (to_rgb(text.get_color()), cell))
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast > 4.4  # WCAG 2 wants 4.5 of small print


def luminance(colour):
    """Relative luminance, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_confusion_matrix_of_many_classes_has_numbers_and_no_counts():
    names = [f"class {i}" for i in range(100)]
    figure = plots.confusion_matrix(np.eye(100, dtype=np.int64), names)
    rendered(figure)
    axes = figure.axes[0]
    assert not axes.texts
    assert {text.get_text() for text in axes.get_xticklabels()} >= {"0", "20", "40", "60", "80"}
    np.testing.assert_array_equal(axes.images[0].get_array(), np.eye(100))


def test_confusion_matrix_grows_to_a_cap():
    sizes = [
        max(plots.confusion_matrix(np.eye(c, dtype=np.int64), ["x"] * c).get_size_inches())
        for c in (2, 10, 20, 100, 1000)
    ]
    assert sizes[0] < sizes[1] < sizes[2] <= sizes[3] == sizes[4] < 12


# Of class 1 against class 0; its pictures are the second and the fourth.
SCORES = np.array([0.1, 0.4, 0.35, 0.8])
LABELS = np.array([0, 1, 0, 1])
WORSE_SCORES = np.array([0.1, 0.35, 0.4, 0.8])  # the second and third are the wrong way round


def of_two_classes(scores):
    return np.stack([1 - scores, scores], axis=1)


def test_roc_of_two_classes_is_that_of_class_1():
    figure = plots.roc_curves(of_two_classes(WORSE_SCORES), LABELS, ["ill", "well"])
    # From the highest score: a hit, a miss, a hit, a miss. Of four pairs one is the wrong way.
    assert line(figure, "well") == [[0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1]]
    assert line(figure, "chance") == [[0, 1], [0, 1]]
    assert legend(figure) == ["chance", "0.7500  well"]


def test_precision_recall_of_two_classes_is_that_of_class_1():
    figure = plots.precision_recall_curves(of_two_classes(WORSE_SCORES), LABELS, ["ill", "well"])
    recall, precision = line(figure, "well")
    # Thresholds 0.1, 0.35, 0.4 and 0.8; then none is taken for class 1.
    expected = [(1, 2 / 4), (1, 2 / 3), (0.5, 1 / 2), (0.5, 1), (0, 1)]
    np.testing.assert_allclose(np.transpose([recall, precision]), expected, rtol=1e-12)
    assert figure.axes[0].lines[0].get_drawstyle() == "steps-post"
    assert legend(figure) == ["0.8333  well"]  # 1/2 * 1 + 1/2 * 2/3


@pytest.fixture(scope="module")
def three_classes():
    """Probabilities and labels; no picture is of the third class.

    Class a is ranked without a fault. Against its one picture, b's is third of four.
    """
    a, b = [0.9, 0.8, 0.6, 0.2], [0.1, 0.05, 0.3, 0.06]
    probabilities = np.stack([a, b, 1 - np.add(a, b)], axis=1)
    return probabilities, np.array([0, 0, 0, 1])


def test_roc_of_three_classes(three_classes):
    figure = plots.roc_curves(*three_classes, ["a", "b", "c"])
    assert line(figure, "b") == [[0, 1 / 3, 2 / 3, 2 / 3, 1], [0, 0, 0, 1, 1]]
    assert legend(figure) == [
        "chance",
        "1.0000  a",
        "0.3333  b",
        "0.6667  macro-average",
        "undefined  c",
    ]
    x, y = line(figure, "macro-average")
    at = dict(zip(np.round(x, 3).tolist(), y, strict=True))
    assert [at[0.3], at[0.6], at[0.7]] == [0.5, 0.5, 1]


def test_precision_recall_of_three_classes(three_classes):
    figure = plots.precision_recall_curves(*three_classes, ["a", "b", "c"])
    assert legend(figure) == ["1.0000  a", "0.3333  b", "0.6667  macro-average", "undefined  c"]
    x, y = line(figure, "macro-average")
    at = dict(zip(np.round(x, 3).tolist(), y, strict=True))
    # b's picture is found when three are taken for b.
    assert [at[0.001], at[1.0]] == pytest.approx([(1 + 1 / 3) / 2] * 2)


@pytest.mark.parametrize("curves", [plots.roc_curves, plots.precision_recall_curves])
def test_without_any_curve_the_axes_say_so(curves):
    figure = curves(np.full((4, 2), 0.5), np.zeros(4, int), ["a", "b"])
    (text,) = figure.axes[0].texts
    assert text.get_text().startswith("no curve")
    assert legend(figure) == ["undefined  b"]
    rendered(figure)


@pytest.mark.parametrize(
    ("curves", "chance", "worst"),
    [
        (plots.roc_curves, ["chance"], ["c10", "c11", "c13"]),
        (plots.precision_recall_curves, [], ["c9", "c10", "c11"]),
    ],
)
def test_of_many_classes_the_best_and_the_worst_are_named(curves, chance, worst):
    """Class c below 12 has one picture, and c others are above it. No picture is of class 12.

    All others are above the pictures of class 13. That is the least area under a ROC, 0, but they
    are half of all: their precision is at least 1/13, 2/14, ..., 12/24, in the mean 0.33.
    """
    classes, pictures = 12, 24
    probabilities = np.zeros((pictures, classes + 2))
    for c in range(classes):
        probabilities[:, c] = np.linspace(0.1, 0.9, pictures)
        order = np.argsort(-probabilities[:, c])
        probabilities[[c, order[c]], c] = probabilities[[order[c], c], c]
    labels = np.r_[np.arange(classes), np.full(12, 13)]
    probabilities[:, 13] = np.linspace(1, 0, pictures)
    figure = curves(probabilities, labels, [f"c{i}" for i in range(14)])
    named = [entry.split("  ")[1] for entry in legend(figure)[len(chance) :]]
    assert legend(figure)[: len(chance)] == chance
    assert named == ["c0", "c1", "c2", *worst, "macro-average", "1 of 14 classes"]
    lines = figure.axes[0].lines
    assert sum(one.get_color() == "#c4c4c4" for one in lines) == 13
    (bold,) = (one for one in lines if one.get_label().endswith("macro-average"))
    assert bold.get_linewidth() > 2


def test_reliability():
    nan = float("nan")
    calibration = types.SimpleNamespace(
        confidence=np.array([nan, 0.3, 0.7, 0.9]),
        accuracy=np.array([nan, 0.5, 0.5, 0.75]),
        count=np.array([0, 2, 2, 4]),
    )
    figure = plots.reliability(calibration, 0.175)
    upper, lower = figure.axes
    assert upper.get_title() == "expected calibration error 0.1750"
    accuracy, gaps = upper.containers
    boxes = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in accuracy]
    assert boxes == [(0.25, 0.25, 0.5), (0.5, 0.25, 0.5), (0.75, 0.25, 0.75)]
    ends = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in gaps]
    np.testing.assert_allclose(ends, [(0.5, 0.3), (0.5, 0.7), (0.75, 0.9)], rtol=1e-12)
    assert [values.tolist() for values in upper.lines[0].get_data()] == [[0, 1], [0, 1]]
    assert [bar.get_height() for bar in lower.containers[0]] == [0, 2, 2, 4]
    rendered(figure)


def test_gallery():
    noise = np.random.RandomState(0)
    sizes = [(1, 1, 1), (28, 28, 1), (8, 40, 3), (300, 10, 3), (600, 500, 3), (32, 32, 3)]
    pictures = [noise.randint(0, 256, size).astype(np.uint8) for size in sizes]
    captions = ["a $x_1$ b", "two\nlines", "", "path/" * 40 + "end.png", "many " * 40, "z" * 26]
    figure = plots.mistakes(pictures, captions)
    assert len(figure.axes) == 10
    shown = [axes for axes in figure.axes if axes.images]
    for axes, picture in zip(shown, pictures, strict=True):
        np.testing.assert_array_equal(np.atleast_3d(axes.images[0].get_array()), picture)
        by_pixels = axes.images[0].get_interpolation() == "nearest"
        assert by_pixels == (max(picture.shape) <= 285)  # 1.9 inches at 150 dots to the inch
    labels = [drawn(axes.xaxis.label) for axes in shown]
    assert labels[:3] == ["a $x_1$ b", "two\nlines", ""]
    assert labels[3].startswith("path/path/")
    assert labels[3].endswith("end.png")
    assert labels[5] == "z" * 26
    for label in labels[3:5]:
        assert "…" in label
        assert max(map(len, label.split("\n"))) <= 26
        assert label.count("\n") <= 2
    pixels = rendered(figure)
    assert (pixels[[0, -1]] == 255).all()  # nothing is cut off


def test_gallery_of_nothing():
    figure = plots.mistakes([], [])
    assert [text.get_text() for text in figure.texts] == ["no mistakes"]
    rendered(figure)


def test_odd_names_are_drawn_as_they_are():
    confusion = plots.confusion_matrix(np.eye(4, dtype=np.int64), ODD_NAMES)
    probabilities = np.eye(4)[[0, 1, 2, 3]]
    curves = plots.roc_curves(probabilities, np.arange(4), ODD_NAMES)
    names = [drawn(text) for text in confusion.axes[0].get_yticklabels()]
    short = "n" * 12 + "…" + "n" * 11
    assert names == ["$x_1^2$ for $5", "_a_b", "日本\ufffd語\ufffd", short]
    assert legend(curves)[1:5] == [f"1.0000  {name}" for name in names]
    gallery = plots.mistakes([np.zeros((2, 2, 1), np.uint8)] * 4, ODD_NAMES)
    for figure in (confusion, curves, gallery):
        assert rendered(figure).std() > 0


@pytest.mark.parametrize("classes", [3, 40])
def test_nothing_is_cut_off_at_the_edges(classes):
    names = [f"class number {i}, a long name" for i in range(classes)]
    noise = np.random.RandomState(0)
    probabilities = noise.dirichlet(np.ones(classes), 200)
    labels = np.arange(200) % classes
    for figure in (
        plots.confusion_matrix(np.eye(classes, dtype=np.int64), names),
        plots.roc_curves(probabilities, labels, names),
        plots.precision_recall_curves(probabilities, labels, names),
    ):
        pixels = rendered(figure)
        assert (pixels[[0, -1]] == 255).all()
        assert (pixels[:, [0, -1]] == 255).all()


def test_write(tmp_path):
    figure = plots.mistakes([], [])
    content = plots.write(figure, tmp_path / "mistakes.png")
    assert (tmp_path / "mistakes.png").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["mistakes.png"]
    assert PIL.Image.open(io.BytesIO(content)).format == "PNG"


@pytest.mark.parametrize(
    "names", [("cat", "dog"), ("daisy", "dandelion", "rose"), ("x" * 100,) * 5]
)
def test_nothing_reaches_the_edge(names):
    """A tenth of an inch around what is drawn is white."""
    figure = plots.confusion_matrix(np.eye(len(names), dtype=np.int64), names)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(plots.png(figure))).convert("L"))
    inside = pixels[14:-14, 14:-14]
    assert inside.size < pixels.size
    assert pixels.sum() - inside.sum() == 255 * (pixels.size - inside.size)
    assert inside.min() < 128
