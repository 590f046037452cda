"""--mixed_precision: what is multiplied in bfloat16, and what is not."""

import numpy as np
import pytest

from core import flags as core_flags
from core import processor
from core.compat import tf
from engine import flags, mixed_precision, sessions

ASKED = core_flags.parse(flags.define_training, ["--mixed_precision=bfloat16"])
IS_HERE = mixed_precision.computed_in(ASKED) == "bfloat16"
# A number that bfloat16, with 8 significant bits, does not have; it becomes 1.
BETWEEN = 1 + 2.0**-9


@pytest.fixture
def processor_with(tmp_path, monkeypatch):
    """processor_with(flags) puts one in the machine."""

    def processor_with(names):
        (tmp_path / "cpuinfo").write_text(f"model name\t: Z80\nflags\t\t: {names}\n")
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")

    return processor_with


@pytest.mark.parametrize(
    ("precision", "names", "onednn", "expected"),
    [
        ("off", "fpu avx512_bf16", "1", "float32"),
        ("bfloat16", "fpu avx512_bf16", "1", "bfloat16"),
        ("bfloat16", "fpu", "1", "float32"),
        ("bfloat16", "fpu avx512_bf16", "0", "float32"),
    ],
)
def test_what_is_computed_in(
    configured, processor_with, monkeypatch, caplog, precision, names, onednn, expected
):
    processor_with(names)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    config = configured(f"--mixed_precision={precision}")
    assert mixed_precision.computed_in(config) == expected
    rewriting = sessions.session_config(config).graph_options.rewrite_options
    is_on = rewriting.auto_mixed_precision_onednn_bfloat16 == rewriting.ON
    assert is_on == (expected == "bfloat16")
    warned = [line for line in caplog.messages if line.startswith("No bfloat16 here, ")]
    assert len(warned) == (precision == "bfloat16" and not is_on)


def test_evaluation_is_float32():
    config = core_flags.parse(flags.define_evaluation, [])
    rewriting = sessions.session_config(config).graph_options.rewrite_options
    assert rewriting.auto_mixed_precision_onednn_bfloat16 == rewriting.DEFAULT


def _convolved(images):
    return tf.nn.conv2d(images, _ones(1, 1, 32, 32), 1, "SAME")


def _depthwise(images):
    return tf.nn.depthwise_conv2d(images, _ones(1, 1, 32, 1), [1, 1, 1, 1], "SAME")


def _multiplied(images):
    return tf.matmul(tf.reshape(images, [-1, 32]), _ones(32, 32))


def _ones(*shape):
    """Not a constant, so that nothing is computed before the graph is rewritten."""
    return tf.ones(shape) * tf.placeholder_with_default(1.0, [])


@pytest.mark.skipif(not IS_HERE, reason="takes a processor that multiplies bfloat16, and oneDNN")
@pytest.mark.parametrize(
    ("operation", "terms", "is_rounded"),
    [(_convolved, 32, True), (_multiplied, 32, True), (_depthwise, 1, False)],
)
def test_products_are_rounded(configured, operation, terms, is_rounded):
    images = np.full((2, 4, 4, 32), BETWEEN, np.float32)

    def computed(*arguments):
        with tf.Graph().as_default():
            placeholder = tf.placeholder(tf.float32, images.shape)
            result = tf.identity(operation(placeholder))
            with tf.Session(config=sessions.session_config(configured(*arguments))) as session:
                return session.run(result, {placeholder: images})

    np.testing.assert_array_equal(computed(), terms * BETWEEN)
    expected = terms if is_rounded else BETWEEN
    np.testing.assert_array_equal(computed("--mixed_precision=bfloat16"), expected)


def test_a_step_is_that_of_float32_but_for_rounding(make_dataset, train, variables_of, tmp_path):
    given = ("--max_number_of_steps=1", "--optimizer=sgd", "--learning_rate=0.01")
    for precision in ("off", "bfloat16"):
        chosen = f"--mixed_precision={precision}"
        train(make_dataset(), tmp_path / precision, *given, chosen)
    before = variables_of(tmp_path / "off" / "model.ckpt-0")
    plain, mixed = (variables_of(tmp_path / run / "model.ckpt-1") for run in ("off", "bfloat16"))
    assert {name: value.dtype for name, value in mixed.items()} == {
        name: value.dtype for name, value in plain.items()
    }
    name = "LeNet/fc4/weights"  # the last layer, whose gradient no pooling has switched over
    update = np.linalg.norm(plain[name] - before[name])
    difference = np.linalg.norm(mixed[name] - plain[name])
    assert (difference > 0) == IS_HERE
    # The products of the four layers before it are of numbers rounded by up to 0.4 %.
    assert difference < 0.03 * update
