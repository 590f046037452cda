"""The loss of a batch, and its gradient, against numpy."""

import numpy as np
import pytest

from core.compat import tf
from engine import losses, sessions

LABELS = np.array([0, 2, 1, 1])
# The third picture is half of class 1, the rest of 0 and 2, as mixing makes them.
MIXED = np.eye(3)[LABELS]
MIXED[2] = 0.3, 0.5, 0.2
LOGITS = np.random.RandomState(0).normal(0, 2, (4, 3))
WEIGHTS = [0.25, 3.0, 0.0]


@pytest.fixture
def loss(configured):
    """loss(targets, logits, weights, "--flag=value", ...) is the loss and its gradient."""

    def loss(targets, logits, weights, *arguments):
        with tf.Graph().as_default(), tf.Session() as session:
            logits = tf.constant(logits, tf.float32)
            targets = tf.constant(targets, tf.float32)
            found = losses.cross_entropy(targets, logits, configured(*arguments), weights)
            assert tf.losses.get_losses() == [found]
            assert found.dtype == tf.float32
            return session.run((found, tf.gradients(found, logits)[0]))

    return loss


def log_p_of(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def expected(targets, logits, weights, gamma, smoothing):
    """The definition: the mean of weight x sum of t (1 - p)^gamma (-log p), in float64."""
    log_p = log_p_of(logits)
    smoothed = targets * (1 - smoothing) + smoothing / 3
    each = (smoothed * (1 - np.exp(log_p)) ** gamma * -log_p).sum(axis=1)
    return (each * (targets @ (weights or [1, 1, 1]))).mean()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradient(loss, weights, gamma, smoothing):
    flags = [f"--focal_gamma={gamma}", f"--label_smoothing={smoothing}"]
    for targets in (np.eye(3)[LABELS], MIXED):
        found, gradient = loss(targets, LOGITS, weights, *flags)
        assert found == pytest.approx(expected(targets, LOGITS, weights, gamma, smoothing), 1e-5)
        slopes = np.zeros((4, 3))
        for place in np.ndindex(4, 3):
            step = np.zeros((4, 3))
            step[place] = 1e-5
            higher, lower = (
                expected(targets, LOGITS + sign * step, weights, gamma, smoothing)
                for sign in (1, -1)
            )
            slopes[place] = (higher - lower) / 2e-5
        np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_loss_of_an_auxiliary_head(configured, weights, gamma):
    """It is 0.4 of the same loss, whatever that is made of, and stands beside that of the head."""
    config = configured(f"--focal_gamma={gamma}", "--label_smoothing=0.1")
    with tf.Graph().as_default(), tf.Session() as session:
        targets, logits = tf.constant(MIXED, tf.float32), tf.constant(LOGITS, tf.float32)
        end_points = {"Logits": 2 * logits, "AuxLogits": logits}
        main = losses.cross_entropy(targets, end_points["Logits"], config, weights)
        found = losses.auxiliary(targets, end_points, config, weights)
        assert tf.losses.get_losses() == [main, found]
        value, of_main, total = session.run((found, main, tf.losses.get_total_loss()))
        assert found.op.name.split("/")[0] == "aux_loss"
        assert losses.auxiliary(targets, {"Logits": logits}, config, weights) is None
    auxiliary = 0.4 * expected(MIXED, LOGITS, weights, gamma, 0.1)
    assert value == pytest.approx(auxiliary, 1e-5)
    assert of_main == pytest.approx(expected(MIXED, 2 * LOGITS, weights, gamma, 0.1), 1e-5)
    assert total == pytest.approx(of_main + auxiliary, 1e-5)


def test_the_name_of_the_loss_of_an_auxiliary_head(configured):
    """That of research/slim, after which TensorBoard's tag is called."""
    with tf.Graph().as_default():
        end_points = {"AuxLogits": tf.constant(LOGITS, tf.float32)}
        found = losses.auxiliary(tf.constant(MIXED, tf.float32), end_points, configured())
    assert found.op.name == "aux_loss/value"


def test_the_mean_is_over_all_pictures_also_those_without_weight(loss):
    """Four pictures of equal logits cost log 3 each: (0.25 + 0 + 3 + 3) / 4 of it."""
    found, gradient = loss(np.eye(3)[LABELS], np.zeros((4, 3)), WEIGHTS)
    assert found == pytest.approx(6.25 / 4 * np.log(3), 1e-6)
    assert not gradient[1].any()
    assert [np.sign(row).tolist() for row in gradient[[0, 2]]] == [[-1, 1, 1], [1, -1, 1]]


def test_a_mixed_picture_weighs_what_its_classes_do_by_their_shares(loss):
    """0.3 of 0.25, 0.5 of 3 and 0.2 of 0 are 1.575; label smoothing does not change that."""
    for smoothing in (0.0, 0.5):
        flag = f"--label_smoothing={smoothing}"
        found, _ = loss(MIXED[2:3], np.zeros((1, 3)), WEIGHTS, flag)
        assert found == pytest.approx(1.575 * np.log(3), 1e-6)


def test_the_example_of_the_paper(loss):
    """Lin et al., section 3.2: with gamma 2, p = 0.9 costs 100 times less, p = 0.968 1000 times."""
    for p, factor in ((0.9, 100), (0.968, 1000)):
        logits = [[np.log(p), np.log(1 - p), -200.0]]
        plain, _ = loss([[1, 0, 0]], logits, None)
        focal, _ = loss([[1, 0, 0]], logits, None, "--focal_gamma=2")
        assert plain / focal == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 1.5, 10.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_large_logits_are_finite(configured, gamma, smoothing):
    """Right beyond doubt, wrong beyond doubt, and near where float32 rounds p to 1 or to 0."""
    config = configured(f"--focal_gamma={gamma}", f"--label_smoothing={smoothing}")
    kinds = np.array([[1, 0, 0], [0, 0, 1], [-1, 0, 0], [1, 1, 0]])
    # What is wrong beyond doubt is pulled back with full force, but for the share of smoothing.
    force = 0.25 / 4 * (1 - smoothing + smoothing / 3)
    with tf.Graph().as_default(), tf.Session() as session:
        logits = tf.placeholder(tf.float32, [4, 3])
        targets = tf.constant([[1.0, 0.0, 0.0]] * 4)
        found = losses.cross_entropy(targets, logits, config, WEIGHTS)
        wanted = found, tf.gradients(found, logits)[0]
        for size in (15, 17, 87, 88, 104, 1e4, 1e30):
            value, gradient = session.run(wanted, {logits: size * kinds})
            assert np.isfinite(value)
            assert value > 0
            assert np.isfinite(gradient).all()
            assert -gradient[1, 0] == pytest.approx(force, rel=0.01)


def test_mixed_precision_leaves_the_loss_in_full_precision(configured):
    """The logits are sums of two eighths, which bfloat16 has exactly; their loss is no such number.

    On a processor without bfloat16 all is float32, and the test finds nothing.
    """
    halves = np.random.RandomState(1).randint(-16, 16, (2, 4, 3)) / 8
    logits = halves.sum(axis=0)
    for flags, weights, gamma in (
        ([], None, 0),
        ([], WEIGHTS, 0),
        (["--focal_gamma=2"], None, 2),
        (["--focal_gamma=2"], WEIGHTS, 2),
    ):
        config = configured("--mixed_precision=bfloat16", *flags)
        with tf.Graph().as_default():
            inputs = tf.placeholder(tf.float32, [4, 6])
            kernel = tf.placeholder(tf.float32, [6, 3])
            targets = tf.constant(MIXED, tf.float32)
            found = losses.cross_entropy(targets, inputs @ kernel, config, weights)
            # A step: what lies between two products is what would be rounded.
            slope = tf.gradients(found, kernel)[0]
            with tf.Session(config=sessions.session_config(config)) as session:
                feeds = {inputs: np.concatenate(halves, axis=1), kernel: np.vstack([np.eye(3)] * 2)}
                value, _ = session.run((found, slope), feeds)
        assert value == pytest.approx(expected(MIXED, logits, weights, gamma, 0), rel=1e-6)


def test_no_flag_leaves_the_graph_as_it_was(configured):
    """The operations, and so the tags of TensorBoard, of TensorFlow's own loss."""
    graphs = [tf.Graph(), tf.Graph()]
    for graph, is_ours in zip(graphs, (True, False), strict=True):
        with graph.as_default():
            logits, targets = tf.constant(LOGITS, tf.float32), tf.constant(MIXED, tf.float32)
            if is_ours:
                losses.cross_entropy(targets, logits, configured("--label_smoothing=0.1"))
            else:
                tf.losses.softmax_cross_entropy(targets, logits, label_smoothing=0.1)
    ours, theirs = (graph.as_graph_def() for graph in graphs)
    assert ours == theirs
