"""What TensorBoard shows of an evaluation, read by its own reader and its plugins' own code."""

import io

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import precision_score, recall_score
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import pr_curves_plugin
from tensorboard.plugins.scalar import metadata as scalar_metadata

from engine import summaries
from engine.report import tensorboard
from engine.scores import Scores

NAMES = ["a/b c", "$x_1$", "日本", "never seen"]
METRICS = {"top_1": 0.25, "mcc": -0.5, "roc_auc": None}
STEP = 30


def scores_of(pictures, classes, labels):
    """Probabilities of noise, none of them at a threshold."""
    noise = np.random.RandomState(0)
    scores = Scores(classes)
    scores.add(noise.randn(pictures, classes).astype(np.float32) * 2, labels)
    return scores


def shown(directory, summary):
    """What TensorBoard's server knows after a summary was written into the run "eval"."""
    (directory / "eval").mkdir()
    events = summaries.EventFile(directory / "eval")
    events.add(step=STEP, summary=summary)
    events.close()
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    return data_provider.MultiplexerDataProvider(multiplexer, str(directory))


@pytest.fixture(scope="module")
def scores():
    return scores_of(60, 4, np.arange(60) % 3)


@pytest.fixture(scope="module")
def provider(scores, png, tmp_path_factory):
    pixels = np.random.RandomState(0).randint(0, 256, (30, 50, 3)).astype(np.uint8)
    pictures = {"confusion_matrix": png(pixels), "mistakes": png(pixels[:20])}
    summary = tensorboard.summary(METRICS, scores, NAMES, pictures)
    return shown(tmp_path_factory.mktemp("logs"), summary)


def test_defined_metrics_are_numbers(provider):
    found = provider.read_last_scalars(
        context.RequestContext(), experiment_id="", plugin_name=scalar_metadata.PLUGIN_NAME
    )
    values = {tag: (datum.step, datum.value) for tag, datum in found["eval"].items()}
    assert values == {"eval/top_1": (STEP, 0.25), "eval/mcc": (STEP, -0.5)}


def curve(provider, tag):
    plugin = pr_curves_plugin.PrCurvesPlugin(TBContext(data_provider=provider))
    (entry,) = plugin.pr_curves_impl(context.RequestContext(), "", ["eval"], tag)["eval"]
    assert entry["step"] == STEP
    return entry


def curve_names(provider):
    plugin = pr_curves_plugin.PrCurvesPlugin(TBContext(data_provider=provider))
    tags = plugin.tags_impl(context.RequestContext(), "")["eval"]
    return {tag: entry["displayName"] for tag, entry in tags.items()}


def test_every_class_that_can_have_a_curve_has_one(provider):
    assert curve_names(provider) == {f"pr_curves/{name}": name for name in NAMES[:3]}


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("number", [0, 20, 100, 170])
def test_a_curve_is_that_of_scikit_learn(provider, scores, label, number):
    entry = curve(provider, f"pr_curves/{NAMES[label]}")
    assert entry["thresholds"][number] == number / 200
    positive, taken = scores.labels == label, scores.probabilities[:, label] >= number / 200
    assert entry["precision"][number] == pytest.approx(precision_score(positive, taken), rel=1e-6)
    assert entry["recall"][number] == pytest.approx(recall_score(positive, taken), rel=1e-6)
    assert entry["true_positives"][number] == (positive & taken).sum()
    assert entry["false_negatives"][number] == (positive & ~taken).sum()


def test_pictures(provider):
    found = provider.list_blob_sequences(
        context.RequestContext(), experiment_id="", plugin_name=image_metadata.PLUGIN_NAME
    )
    assert set(found["eval"]) == {"confusion_matrix", "mistakes"}
    blobs = provider.read_blob_sequences(
        context.RequestContext(),
        experiment_id="",
        plugin_name=image_metadata.PLUGIN_NAME,
        downsample=1,
    )
    (datum,) = blobs["eval"]["mistakes"]
    width, height, picture = (
        provider.read_blob(context.RequestContext(), blob_key=reference.blob_key)
        for reference in datum.values
    )
    assert (width, height) == (b"50", b"20")
    assert PIL.Image.open(io.BytesIO(picture)).size == (50, 20)


@pytest.mark.parametrize("block", [1 << 20, 100])  # all at once, and 4 pictures at a time
def test_many_classes_have_one_curve(tmp_path, monkeypatch, block):
    monkeypatch.setattr(tensorboard, "_BLOCK", block)
    scores = scores_of(40, 21, np.arange(40) % 5)
    provider = shown(tmp_path, tensorboard.summary({}, scores, [f"c{i}" for i in range(21)], {}))
    assert curve_names(provider) == {"pr_curves/all classes": "all classes"}
    entry = curve(provider, "pr_curves/all classes")
    positive = np.eye(21, dtype=bool)[scores.labels].ravel()
    for number in (0, 7, 60):
        taken = scores.probabilities.ravel() >= number / 200
        precision, recall = precision_score(positive, taken), recall_score(positive, taken)
        assert entry["precision"][number] == pytest.approx(precision, rel=1e-6)
        assert entry["recall"][number] == pytest.approx(recall, rel=1e-6)
        assert entry["true_negatives"][number] == (~positive & ~taken).sum()
