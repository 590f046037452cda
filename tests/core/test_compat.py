"""Each name that core.compat puts back is used here for real, with values worked out by hand."""

import logging
import os
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from core import compat
from core.compat import slim, tf
from core.errors import ExitCode, MachineError

ROOT = Path(__file__).parents[2]


def run(fetches, feed_dict=None, updates=()):
    """Fetches from a new session over the default graph, after running `updates` once."""
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for update in updates:
            session.run(update, feed_dict)
        return session.run(fetches, feed_dict)


def python(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# Batch normalization: ops.Tensor, control_flow_ops.cond, the layer of tf-keras.

# 4 values of 1 channel: mean 4, variance 5 (over N), 20/3 (over N - 1).
BATCH = np.array([1.0, 3.0, 5.0, 7.0], np.float32).reshape(4, 1, 1, 1)


@pytest.mark.parametrize("updates_collections", [tf.GraphKeys.UPDATE_OPS, None, "own"])
@pytest.mark.parametrize(("fused", "variance"), [(True, 20 / 3), (False, 5.0)])
def test_batch_norm_normalizes_by_the_batch_and_moves_its_averages(
    fused, variance, updates_collections
):
    with tf.Graph().as_default():
        outputs = slim.batch_norm(
            tf.constant(BATCH),
            decay=0.9,
            epsilon=0.0 if not fused else 1e-5,
            fused=fused,
            updates_collections=updates_collections,
        )
        moving_mean, moving_variance = slim.get_variables_by_name("moving_mean") + (
            slim.get_variables_by_name("moving_variance")
        )
        updates = [] if updates_collections is None else tf.get_collection(updates_collections)
        assert len(updates) == (0 if updates_collections is None else 2)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            normalized, _ = session.run([outputs, updates])
            averages = session.run([moving_mean, moving_variance])
    np.testing.assert_allclose(normalized, (BATCH - 4) / np.sqrt(5), rtol=1e-4)
    # From 0 and 1: 0.9 * 0 + 0.1 * 4, 0.9 * 1 + 0.1 * variance.
    np.testing.assert_allclose(averages, [[0.4], [0.9 + 0.1 * variance]], rtol=1e-5)


def test_batch_norm_with_zero_debias_starts_from_the_first_mean():
    with tf.Graph().as_default():
        slim.batch_norm(tf.constant(BATCH), decay=0.9, fused=False, zero_debias_moving_mean=True)
        (moving_mean,) = slim.get_variables_by_name("moving_mean")
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        # 0.1 * 4 of weight 1 - 0.9: the mean itself.
        np.testing.assert_allclose(run(moving_mean, updates=[updates]), [4.0], rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("updates_collections", [tf.GraphKeys.UPDATE_OPS, None])
def test_batch_norm_takes_its_phase_from_a_tensor(fused, updates_collections):
    with tf.Graph().as_default():
        is_training = tf.placeholder(tf.bool, [])
        outputs = slim.batch_norm(
            tf.constant(BATCH),
            is_training=is_training,
            fused=fused,
            updates_collections=updates_collections,
        )
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            evaluated = session.run(outputs, {is_training: False})
            trained = session.run(outputs, {is_training: True})
    # epsilon is 0.001; the averages start as 0 and 1.
    np.testing.assert_allclose(evaluated, BATCH / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(trained, (BATCH - 4) / np.sqrt(5.001), rtol=1e-5)


def test_a_net_with_batch_norm_learns():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 6, 6, 1)).astype(np.float32)
    labels = (np.arange(16) % 2).astype(np.int32)
    images[labels == 1] += 1.0
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm):
            net = slim.conv2d(tf.constant(images), 4, 3, scope="conv")
        logits = slim.fully_connected(tf.reduce_mean(net, [1, 2]), 2, activation_fn=None)
        tf.losses.sparse_softmax_cross_entropy(tf.constant(labels), logits)
        train_op = slim.learning.create_train_op(
            tf.losses.get_total_loss(), tf.train.MomentumOptimizer(0.5, 0.9)
        )
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            losses = [session.run(train_op) for _ in range(30)]
            moved = session.run(slim.get_variables_by_name("moving_mean")[0])
    assert losses[-1] < 0.1 < losses[0]
    assert np.all(moved != 0)


# Other layers.


def test_separable_conv2d_is_depthwise_then_pointwise():
    image = np.arange(18, dtype=np.float32).reshape(1, 3, 3, 2)
    with tf.Graph().as_default():
        outputs = slim.separable_conv2d(
            tf.constant(image),
            1,
            3,
            padding="VALID",
            weights_initializer=tf.ones_initializer(),
            activation_fn=None,
        )
        shapes = {v.op.name.split("/")[-1]: v.shape.as_list() for v in slim.get_model_variables()}
        # All weights 1: the sum over both channels of the window, 0 + ... + 17.
        np.testing.assert_allclose(run(outputs), [[[[153.0]]]])
    assert shapes == {
        "depthwise_weights": [3, 3, 2, 1],
        "pointwise_weights": [1, 1, 2, 1],
        "biases": [1],
    }


def test_unit_norm_divides_by_the_length():
    with tf.Graph().as_default():
        outputs = slim.unit_norm(tf.constant([[3.0, 4.0], [0.0, 2.0]]), dim=1)
        np.testing.assert_allclose(run(outputs), [[0.6, 0.8], [0.0, 1.0]], rtol=1e-5)


def test_legacy_fully_connected_keeps_the_outer_dimensions():
    inputs = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    with tf.Graph().as_default():
        outputs = slim.legacy_fully_connected(
            tf.placeholder_with_default(inputs, [None, 3, 2]),
            4,
            weight_init=tf.ones_initializer(),
        )
        assert outputs.shape.as_list() == [None, 3, 4]
        expected = np.repeat(inputs.sum(-1, keepdims=True), 4, axis=-1)
        np.testing.assert_allclose(run(outputs), expected)


# Training: ops.IndexedSlices, ops.Tensor.


def one_step(**options):
    """Weights [0, 0] after a step of rate 1 down the gradient [3, 4], and the train op's graph."""
    with tf.Graph().as_default() as graph:
        weights = slim.variable("weights", [2], initializer=tf.zeros_initializer())
        loss = tf.reduce_sum(weights * [3.0, 4.0])
        train_op = slim.learning.create_train_op(
            loss, tf.train.GradientDescentOptimizer(1.0), **options
        )
        return run(weights, updates=[train_op]), graph


def test_create_train_op_steps_down_the_gradient():
    np.testing.assert_allclose(one_step()[0], [-3.0, -4.0])


def test_create_train_op_clips_to_the_norm():
    # The norm of [3, 4] is 5: scaled to 1, [0.6, 0.8].
    np.testing.assert_allclose(one_step(clip_gradient_norm=1.0)[0], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_create_train_op_multiplies_gradients(as_tensor):
    with tf.Graph().as_default():
        weights = slim.variable("weights", [2], initializer=tf.zeros_initializer())
        train_op = slim.learning.create_train_op(
            tf.reduce_sum(weights * [3.0, 4.0]),
            tf.train.GradientDescentOptimizer(1.0),
            gradient_multipliers={"weights": tf.constant(0.5) if as_tensor else 0.5},
        )
        np.testing.assert_allclose(run(weights, updates=[train_op]), [-1.5, -2.0])


def test_create_train_op_summarizes_gradients():
    _, graph = one_step(summarize_gradients=True)
    names = sorted(tensor.op.name for tensor in graph.get_collection(tf.GraphKeys.SUMMARIES))
    assert len(names) == 2
    assert "gradient_norm" in names[1]
    assert "gradient" in names[0]


def test_sparse_gradients_are_clipped_multiplied_and_summarized():
    with tf.Graph().as_default():
        table = slim.variable("table", [3, 2], initializer=tf.zeros_initializer())
        rows = tf.nn.embedding_lookup(table, [1])
        (gradient,) = tf.gradients(rows, table)
        assert isinstance(gradient, tf.IndexedSlices)
        train_op = slim.learning.create_train_op(
            tf.reduce_sum(rows * [3.0, 4.0]),
            tf.train.GradientDescentOptimizer(1.0),
            gradient_multipliers={"table": 2.0},
            clip_gradient_norm=5.0,
            summarize_gradients=True,
        )
        # [6, 8] of norm 10, clipped to 5: [3, 4], in row 1 only.
        np.testing.assert_allclose(
            run(table, updates=[train_op]), [[0, 0], [-3, -4], [0, 0]], rtol=1e-6
        )


@pytest.mark.parametrize("as_tensor", [False, True])
def test_optimize_loss_clips_and_takes_a_rate_of_either_kind(as_tensor):
    with tf.Graph().as_default():
        weights = slim.variable("weights", [2], initializer=tf.zeros_initializer())
        step = tf.train.create_global_step()
        update = slim.optimize_loss(
            tf.reduce_sum(weights * [3.0, 4.0]),
            step,
            learning_rate=tf.constant(0.1) if as_tensor else 0.1,
            optimizer="SGD",
            clip_gradients=1.0,
        )
        moved, count = run([weights, step], updates=[update])
    np.testing.assert_allclose(moved, [-0.06, -0.08], rtol=1e-5)
    assert count == 1


# Reading records: control_flow_ops.case and cond, array_ops.stack.


def example(**features):
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    feature = {
        name.replace("__", "/"): tf.train.Feature(**{kinds[type(values[0])]: {"value": values}})
        for name, values in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.mark.parametrize("image_format", ["png", "jpeg", "raw"])
def test_image_decoder_reads_a_record(image_format):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    pixels[...] = pixels[:1, :1]  # one colour, which JPEG keeps but for rounding
    with tf.Graph().as_default():
        encode = {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}.get(image_format)
        encoded = run(encode(pixels)) if encode else pixels.tobytes()
        record = example(image__encoded=[encoded], image__format=[image_format.encode()])
        decoder = slim.tfexample_decoder.TFExampleDecoder(
            {
                "image/encoded": tf.FixedLenFeature([], tf.string),
                "image/format": tf.FixedLenFeature([], tf.string, default_value="raw"),
            },
            {"image": slim.tfexample_decoder.Image(shape=[4, 4, 3], channels=3)},
        )
        (image,) = decoder.decode(tf.constant(record), ["image"])
        decoded = run(image)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded.astype(int), pixels, atol=2 if image_format == "jpeg" else 0)


def test_tensor_decoder_shapes_by_other_keys():
    with tf.Graph().as_default():
        record = example(values=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], height=[2], width=[3])
        decoder = slim.tfexample_decoder.TFExampleDecoder(
            {
                "values": tf.VarLenFeature(tf.float32),
                "height": tf.FixedLenFeature([1], tf.int64),
                "width": tf.FixedLenFeature([1], tf.int64),
            },
            {"matrix": slim.tfexample_decoder.Tensor("values", shape_keys=["height", "width"])},
        )
        (matrix,) = decoder.decode(tf.constant(record), ["matrix"])
        np.testing.assert_array_equal(run(matrix), [[1, 2, 3], [4, 5, 6]])


# Metrics and losses: variable_scope.variable, Assert, stack, cond, while_loop.

# Positives score 0.35 and 0.8, negatives 0.1 and 0.4: 3 of the 4 pairs are in order.
SCORES, HITS = [0.1, 0.4, 0.35, 0.8], [False, False, True, True]


def test_streaming_auc():
    with tf.Graph().as_default():
        auc, update = slim.metrics.streaming_auc(tf.constant(SCORES), tf.constant(HITS))
        np.testing.assert_allclose(run(auc, updates=[update]), 0.75, atol=1e-3)


def test_auc_using_histogram():
    with tf.Graph().as_default():
        auc, update = slim.metrics.auc_using_histogram(
            tf.constant(HITS), tf.constant(SCORES), [0.0, 1.0], nbins=1000
        )
        assert {op.type for op in tf.get_default_graph().get_operations()} >= {"Assert"}
        np.testing.assert_allclose(run(auc, updates=[update]), 0.75, atol=1e-2)


def test_streaming_curve_points():
    with tf.Graph().as_default():
        points, update = slim.metrics.streaming_curve_points(
            tf.constant(HITS), tf.constant(SCORES), num_thresholds=3
        )
        # (false, true positive rate) above a threshold below 0, of 0.5, above 1.
        np.testing.assert_allclose(
            run(points, updates=[update]), [[1, 1], [0, 0.5], [0, 0]], atol=1e-5
        )


def test_streaming_concat_grows():
    with tf.Graph().as_default():
        values, update = slim.metrics.streaming_concat(tf.constant([1, 2, 3]))
        np.testing.assert_array_equal(run(values, updates=[update] * 3), [1, 2, 3] * 3)


def test_local_and_global_variables_join_their_collections():
    with tf.Graph().as_default():
        local, shared = slim.local_variable(1.0), slim.global_variable(2.0)
        assert tf.local_variables() == [local]
        assert tf.global_variables() == [shared]
        assert tf.trainable_variables() == []
        np.testing.assert_array_equal(run([local, shared]), [1.0, 2.0])


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        # Points 0, 1, 10, 11. Two centres at best cost 1 + 1. Labels that agree: nothing to gain.
        ([0, 0, 1, 1], 0.0),
        # Labels across: they cost 10 + 10, and the clustering found shares nothing with them
        # (mutual information 0, so a margin of 1): -2 + 1 * (1 - 0) - (-20).
        ([0, 1, 0, 1], 19.0),
    ],
)
def test_cluster_loss(labels, loss):
    with tf.Graph().as_default():
        value = slim.losses.metric_learning.cluster_loss(
            tf.constant(labels), tf.constant([[0.0], [1.0], [10.0], [11.0]]), margin_multiplier=1.0
        )
        np.testing.assert_allclose(run(value), loss, atol=1e-3)


# What only tf-slim's own tests ask for.


def test_variables_of_either_kind():
    from tensorflow.python.ops import variable_scope, variables

    def made():
        with tf.Graph().as_default():
            return variables.VariableV1(1.0, name="v")

    assert variables.VariableV1 is tf.Variable
    assert variable_scope.variable is tf.Variable
    assert variable_scope.resource_variables_enabled()
    assert made().op.type == "VarHandleOp"
    variable_scope.disable_resource_variables()
    try:
        assert not variable_scope.resource_variables_enabled()
        assert made().op.type == "VariableV2"
    finally:
        variable_scope.enable_resource_variables()


# What the import itself does.


def test_it_exports_four_names():
    assert compat.__all__ == ["quiet", "slim", "tf", "tf_record_random_reader"]
    assert tf.Session is not None
    assert slim.arg_scope is not None


def test_quiet_is_quiet_until_its_block_ends(caplog):
    logger = logging.getLogger("tensorflow")
    with caplog.at_level(logging.INFO, "tensorflow"):
        with compat.quiet():
            logger.warning("one of a thousand")
        logger.warning("the one that counts")
    assert [record.getMessage() for record in caplog.records] == ["the one that counts"]


@pytest.mark.parametrize("distribution", ["tensorflow", "tf-keras", "tf-slim"])
@pytest.mark.parametrize("version", ["2.20.1", "2.22.0", "1.2.0", "22.21.0"])
def test_unknown_version_is_refused_in_one_line(distribution, version):
    known = {"tensorflow": "2.21.0", "tf-keras": "2.21.3", "tf-slim": "1.1.0"}
    compat.check_versions(known.get)
    with pytest.raises(
        MachineError, match=f"^{distribution} is {version}, and this needs"
    ) as error:
        compat.check_versions({**known, distribution: version}.get)
    assert "\n" not in str(error.value)
    assert f'pip install "{distribution}==' in error.value.remedy
    assert error.value.exit_code == ExitCode.ENVIRONMENT


def test_missing_package_is_refused_by_name():
    def installed(distribution):
        if distribution == "tf-keras":
            raise metadata.PackageNotFoundError(distribution)
        return metadata.version(distribution)

    with pytest.raises(MachineError, match=r"^tf-keras is not installed, and this needs 2\.21\.\*"):
        compat.check_versions(installed)


def test_import_stops_at_an_unknown_version_before_tensorflow_is_loaded():
    result = python(
        """
        import sys
        from importlib import metadata
        metadata.version = lambda distribution: "9.9.9"
        try:
            import core.compat
        except Exception as error:
            print(type(error).__name__, error, "tensorflow" in sys.modules)
        """
    )
    assert result.stdout == (
        "MachineError tensorflow is 9.9.9, and this needs 2.21.* "
        '- pip install "tensorflow==2.21.*" False\n'
    )


@pytest.mark.parametrize("today", ["ops.no_such_module.case", "ops.control_flow_case.no_name"])
def test_a_name_that_moved_again_is_told(today):
    with pytest.raises(
        MachineError, match=f"has no tensorflow.python.{today}, which tf-slim needs"
    ):
        compat.put_back([("ops.control_flow_ops.a_name_to_put_back", today)])


def test_a_name_that_exists_is_left_alone():
    from tensorflow.python.ops import control_flow_ops

    before = control_flow_ops.group
    compat.put_back([("ops.control_flow_ops.group", "ops.cond.cond")])
    assert control_flow_ops.group is before


def test_import_changes_no_state_and_replaces_nothing():
    result = python(
        """
        import importlib
        import tensorflow as tf2
        tf = tf2.compat.v1

        def state():
            return [
                tf.executing_eagerly(), tf.resource_variables_enabled(),
                tf.control_flow_v2_enabled(), tf.get_logger().level,
                tf2.keras.__name__, tf.get_default_graph().get_operations(),
                tf2.config.list_logical_devices.__module__,
            ]

        looked_in = {"tensorflow.python." + path.rpartition(".")[0] for path in (
            "framework.ops.", "ops.control_flow_ops.", "ops.array_ops.", "ops.variables.",
            "ops.variable_scope.", "layers.normalization.")}
        modules = {name: importlib.import_module(name) for name in looked_in}
        attributes = {name: dict(vars(module)) for name, module in modules.items()}
        graph, before = tf.get_default_graph(), state()
        from core import compat
        assert tf.get_default_graph() is graph
        assert state() == before
        added = set()
        for name, module in modules.items():
            for key, value in vars(module).items():
                if key not in attributes[name]:
                    added.add(f"{name}.{key}")
                elif key != "__warningregistry__":
                    assert value is attributes[name][key], (name, key)
        assert added == {"tensorflow.python." + wanted for wanted, _ in compat.MOVED}, added
        assert compat.BATCH_NORM_MODULE_TODAY not in importlib.sys.modules
        print("unchanged")
        """
    )
    assert result.stdout == "unchanged\n", result.stderr


def test_libraries_that_nothing_asks_for_are_loaded_when_something_does():
    result = python(
        """
        import sys
        from core.compat import slim, tf
        print(sys.modules.keys() & {"keras", "tf_keras", "sklearn", "matplotlib"})
        with tf.Graph().as_default():
            print(slim.batch_norm(tf.ones([2, 8, 8, 3])).shape, "keras" in sys.modules)
        print(tf.keras.layers.Dense(3).units)
        import tensorflow.keras
        print(tensorflow.keras.models.Sequential.__module__)
        """
    )
    assert result.stdout == ("set()\n(2, 8, 8, 3) False\n3\nkeras.src.models.sequential\n"), (
        result.stderr
    )


def test_a_library_that_was_loaded_before_is_the_one():
    result = python(
        """
        import keras, sklearn.metrics, sys
        from core.compat import slim, tf
        print(sys.modules["keras"] is keras, tf.keras.layers.Dense is keras.layers.Dense)
        from tf_slim.losses import metric_learning
        print(metric_learning.metrics is sklearn.metrics)
        """
    )
    assert result.stdout == "True True\nTrue\n", result.stderr


def test_a_net_is_built_and_run_without_a_word():
    result = python(
        """
        from core.compat import slim, tf
        with tf.Graph().as_default():
            net = slim.conv2d(tf.ones([2, 8, 8, 3]), 4, 3, normalizer_fn=slim.batch_norm)
            net = slim.dropout(slim.flatten(slim.max_pool2d(net, 2)))
            tf.losses.sparse_softmax_cross_entropy([0, 1], slim.fully_connected(net, 2))
            train_op = slim.learning.create_train_op(
                tf.losses.get_total_loss(), tf.train.GradientDescentOptimizer(0.1))
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train_op)
        print("trained")
        """
    )
    assert (result.stdout, result.stderr) == ("trained\n", "")


def test_a_crash_still_speaks_and_the_notices_can_be_had():
    result = python(
        """
        import os
        from core import compat
        os.write(2, b"--\\n")
        with compat.without_lines("notice|other"):
            os.write(2, b"a notice\\nlast words\\n")
            os.abort()
        """,
        TF_CPP_MIN_LOG_LEVEL="0",
    )
    notices, _, crash = result.stderr.partition("--\n")
    assert result.returncode < 0
    assert crash == "last words\n"
    assert "All log messages before absl::InitializeLog" in notices


def test_without_lines_drops_only_matching_lines(capfd):
    with compat.without_lines("one|three"):
        os.write(2, b"line one\nline two\nline three\nline four")
    os.write(2, b"\nline one, after\n")
    assert capfd.readouterr().err == "line two\nline four\n\nline one, after\n"


def test_without_lines_lets_errors_through(capfd):
    with pytest.raises(KeyError), compat.without_lines("x"):
        raise KeyError("y")
    os.write(2, b"x again\n")
    assert capfd.readouterr().err == "x again\n"
