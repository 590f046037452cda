"""What a run writes for TensorBoard, read back from its event files."""

import collections
import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from core.compat import tf
from engine import checkpoints, model, summaries
from engine.input_pipeline import Batch

NET = "mobilenet_v1_025"


@pytest.fixture(scope="module")
def events(finished_run, events_of):
    return events_of(finished_run(NET))


@pytest.fixture(scope="module")
def values(events):
    """Tag -> step -> value."""
    found = collections.defaultdict(dict)
    for event in events:
        for value in event.summary.value:
            found[value.tag][event.step] = value
    return found


def test_summaries_by_steps(values):
    # Of 7 steps every third, and the first and the last.
    assert list(values["loss"]) == [1, 3, 6, 7]


def test_scalars(values):
    expected = {
        *("learning_rate", "total_loss_1", "losses/softmax_cross_entropy_loss/value"),
        *("Losses/clone_loss", "Losses/regularization_loss", "global_step/sec"),
        *("accuracy", "loss", "images/sec"),
    }
    found = {tag for tag, of_step in values.items() if of_step[1].HasField("simple_value")}
    sparsity = {tag for tag in found if tag.startswith("sparsity/")}
    assert found - sparsity == expected
    # The 27 layers (1 + 13 * 2), the pool, Logits and Predictions.
    assert {"sparsity/Conv2d_0", "sparsity/Conv2d_13_pointwise", "sparsity/Predictions"} < sparsity
    assert len(sparsity) >= 30

    def at(tag, step):
        return values[tag][step].simple_value

    for step in (1, 3, 6, 7):
        assert at("learning_rate", step) == pytest.approx(0.01)
        loss = at("loss", step)
        assert at("losses/softmax_cross_entropy_loss/value", step) == loss
        assert at("Losses/clone_loss", step) == loss
        total = loss + at("Losses/regularization_loss", step)
        assert at("total_loss_1", step) == pytest.approx(total, rel=1e-6)
        assert at("accuracy", step) in (0.0, 0.25, 0.5, 0.75, 1.0)  # batches of 4
        assert 0 <= at("sparsity/Conv2d_0", step) <= 1
        assert at("images/sec", step) == pytest.approx(4 * at("global_step/sec", step), rel=1e-6)


def test_the_scalars_of_an_auxiliary_loss():
    with tf.Graph().as_default(), tf.Session() as session:
        batch = Batch(tf.zeros([1, 2, 2, 3]), tf.zeros([1], tf.int64), tf.range(1), tf.no_op())
        losses = map(tf.constant, (0.5, 0.875, 1.0, 0.25))
        classifier = model.Classifier(batch, tf.zeros([1, 2]), {}, *losses)
        made = session.run(summaries.training_summaries(classifier, tf.constant(0.1)))
    found = {value.tag: value.simple_value for value in tf.Summary.FromString(made).value}
    assert found["losses/aux_loss/value"] == 0.25
    assert found["Losses/clone_loss"] == 0.75
    assert found["losses/softmax_cross_entropy_loss/value"] == found["loss"] == 0.5
    assert found["total_loss_1"] == 0.875


def test_histograms(values, finished_run, variables_of):
    found = {tag for tag, of_step in values.items() if of_step[1].HasField("histo")}
    activations = {tag for tag in found if tag.startswith("activations/")}
    assert {tag.replace("activations/", "sparsity/") for tag in activations} == {
        tag for tag in values if tag.startswith("sparsity/")
    }
    model = {
        name: value
        for name, value in variables_of(checkpoints.prefix(finished_run(NET), 7)).items()
        if name.startswith("MobilenetV1/")
        and not name.endswith(("RMSProp", "RMSProp_1", "ExponentialMovingAverage"))
    }
    assert found - activations == {f"{name}_1" for name in model}
    assert "MobilenetV1/Conv2d_0/weights_1" in found
    for name, value in model.items():
        assert values[f"{name}_1"][7].histo.num == value.size


@pytest.mark.parametrize("size", [1, 1000, summaries.HISTOGRAM_VALUES])
def test_a_histogram_counts_all_values_of_a_small_tensor(size):
    drawn = sampled(np.arange(size, dtype=np.float32))
    np.testing.assert_array_equal(drawn, np.arange(size))


def test_a_histogram_counts_some_values_of_every_channel_of_a_large_tensor():
    rows, channels = 4096, 64
    values = np.tile(np.arange(channels, dtype=np.float32), (rows, 1))
    drawn = sampled(values)
    counts = np.bincount(drawn.astype(int), minlength=channels)
    assert counts.sum() == 65536
    # 1,024 of each are expected, with a standard deviation of 32.
    assert abs(counts - 1024).max() < 5 * 32
    np.testing.assert_array_equal(drawn, sampled(values))


def test_a_histogram_of_more_values_than_32_bits_count():
    """The weights of LeNet's fc3 on pictures of 1000 pixels; only the graph is built."""
    with tf.Graph().as_default():
        weights = tf.placeholder(tf.float32, [250 * 250 * 64, 1024])
        assert summaries.sample(weights).shape.rank == 1


def sampled(values):
    with tf.Graph().as_default(), tf.Session() as session:
        # Of a shape that is not known when the graph is built, as with an image size schedule.
        fed = tf.placeholder(tf.float32, [None] * values.ndim)
        return session.run(summaries.sample(fed), {fed: values})


def test_input_images(values):
    tags = sorted(tag for tag, of_step in values.items() if of_step[1].HasField("image"))
    assert tags == [f"input/image/{i}" for i in range(4)]
    for tag in tags:
        image = values[tag][7].image
        assert (image.height, image.width, image.colorspace) == (16, 16, 3)
        decoded = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        assert decoded.shape == (16, 16, 3)
        assert decoded.std() > 0


def test_graph_and_session_log(events):
    graph = next(event.graph_def for event in events if event.HasField("graph_def"))
    nodes = {node.name for node in tf.GraphDef.FromString(graph).node}
    assert {"MobilenetV1/Conv2d_0/weights", "global_step", "train_op"} <= nodes
    logs = [event for event in events if event.HasField("session_log")]
    assert [(event.step, event.session_log.status) for event in logs] == [(0, tf.SessionLog.START)]


def test_a_resume_starts_a_log_at_its_step(make_dataset, copied_run, train, events_of):
    directory = copied_run("lenet")
    for name in ("index", "meta", "data-00000-of-00001"):
        (directory / f"model.ckpt-7.{name}").unlink()  # as if killed after step 4
    train(make_dataset(), directory, "--max_number_of_steps=5", "--optimizer=sgd")
    events = events_of(directory)
    logs = [event for event in events if event.HasField("session_log")]
    assert [(event.step, event.session_log.status) for event in logs] == [
        (0, tf.SessionLog.START),
        (4, tf.SessionLog.START),
    ]
    # TensorBoard drops what the first process wrote beyond step 4.
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("loss")] == [1, 3, 5]


def test_tensorboard_loads_the_run(finished_run):
    accumulator = EventAccumulator(
        str(finished_run(NET)), size_guidance={"images": 0, "histograms": 0}
    )
    accumulator.Reload()
    tags = accumulator.Tags()
    assert tags["graph"]
    assert {"loss", "accuracy", "learning_rate", "images/sec"} <= set(tags["scalars"])
    assert "MobilenetV1/Conv2d_0/weights_1" in tags["histograms"]
    assert "input/image/0" in tags["images"]
    assert [event.step for event in accumulator.Images("input/image/0")] == [1, 3, 6, 7]


def test_files_of_one_second_are_two_files(tmp_path):
    with tf.Graph().as_default():
        for step in range(3):
            events = summaries.EventFile(tmp_path)
            events.add(step=step, summary=summaries.scalars({"tag": 0.5}))
            events.close()
    files = list(tmp_path.glob("events.out.tfevents.*"))
    assert len(files) == 3
    steps = [e.step for f in files for e in tf.train.summary_iterator(str(f)) if e.summary.value]
    assert sorted(steps) == [0, 1, 2]


@pytest.mark.parametrize("limit", [0, 10, 100, 5000])
def test_a_full_disk_costs_the_summaries_and_one_warning(tmp_path, no_file_beyond, caplog, limit):
    with no_file_beyond(limit):
        events = summaries.EventFile(tmp_path)
        for step in range(300):
            events.add(step=step, summary=summaries.scalars({"tag": 0.5}))
            events.flush()
        events.close()
    (warning,) = caplog.messages
    assert warning.startswith(f"cannot write {tmp_path}/events.out.tfevents.")
    assert warning.endswith("File too large): no more summaries, all else goes on")
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size <= limit


def test_a_directory_that_is_gone_costs_the_summaries_only(tmp_path, caplog):
    events = summaries.EventFile(tmp_path / "gone")
    events.add(step=1, summary=summaries.scalars({"tag": 0.5}))
    events.close()
    (warning,) = caplog.messages
    assert "No such file or directory" in warning


def test_training_goes_on_without_summaries(
    make_dataset, finished_run, train, flags_of, digest, monkeypatch, tmp_path
):
    """The weights are those of a run that had its event file."""
    theirs = finished_run("cifarnet") / "model.ckpt-7"  # made before its events would be lost too
    directory = summaries.EventFile.__init__

    def of_a_full_disk(self, path, graph=None):
        directory(self, path / "gone", graph)

    monkeypatch.setattr(summaries.EventFile, "__init__", of_a_full_disk)
    train(make_dataset(), tmp_path, "--max_number_of_steps=7", *flags_of("cifarnet"))
    assert not list(tmp_path.glob("*tfevents*"))
    assert digest(tmp_path / "model.ckpt-7") == digest(theirs)
