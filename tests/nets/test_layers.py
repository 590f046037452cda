"""Stateless dropout, fixed padding and the shared head."""

import numpy as np
import pytest

from core.compat import tf
from core.errors import FlagError
from nets import layers


def masks(seed, steps, names=("dropout",), keep_prob=0.8, shape=(100, 100), is_training=True):
    """One fresh graph and session: dropout of ones, [steps, names, *shape]."""
    with tf.Graph().as_default():
        if seed is not None:
            tf.set_random_seed(seed)
        step = tf.train.get_or_create_global_step()
        outputs = [
            layers.dropout(tf.ones(shape), keep_prob, is_training, scope=name) for name in names
        ]
        results = []
        with tf.Session() as session:
            for value in steps:
                step.load(value, session)
                results.append(session.run(outputs))
    return np.array(results)


def test_dropout_is_a_function_of_seed_step_and_layer():
    first = masks(1, [0, 5, 0], ["a", "b"])
    np.testing.assert_array_equal(first[0], first[2])
    assert (first[0] != first[1]).any()
    assert (first[0, 0] != first[0, 1]).any()
    np.testing.assert_array_equal(masks(1, [5], ["a", "b"])[0], first[1])
    assert (masks(2, [5], ["a", "b"])[0] != first[1]).any()


def test_dropout_masks_of_steps_layers_and_seeds_are_unrelated():
    kept = masks(1, [0, 1], ["a", "b"], keep_prob=0.5)[:, :, :, :] > 0
    others = [kept[0, 0], kept[0, 1], kept[1, 0], masks(2, [0], ["a"], keep_prob=0.5)[0, 0] > 0]
    # 10,000 fair coins agree in 5,000 places, give or take 50 (one standard deviation).
    for i, one in enumerate(others):
        for other in others[:i]:
            assert 4700 < (one == other).sum() < 5300


def test_dropout_takes_large_and_negative_seeds():
    for seed in (2**31 - 1, 2**40, -1):
        assert set(np.unique(masks(seed, [0]))) == {0.0, np.float32(1.25)}


@pytest.mark.parametrize("seed", [1, None])
def test_dropout_keeps_the_fraction_and_scales_by_its_inverse(seed):
    out = masks(seed, [3])[0, 0]
    assert set(np.unique(out)) == {0.0, np.float32(1.25)}  # 1 / 0.8
    # 10,000 draws at 0.8 keep 8,000, give or take 40 (one standard deviation).
    assert 7800 < (out > 0).sum() < 8200


@pytest.mark.parametrize(("is_training", "keep_prob"), [(False, 0.5), (True, 1.0), (True, 1)])
def test_dropout_returns_the_input_itself_when_there_is_nothing_to_drop(is_training, keep_prob):
    with tf.Graph().as_default():
        inputs = tf.ones([2])
        assert layers.dropout(inputs, keep_prob, is_training) is inputs


@pytest.mark.parametrize("seed", [1, None])
def test_dropout_decides_at_run_time_with_a_tensor(seed):
    with tf.Graph().as_default():
        if seed is not None:
            tf.set_random_seed(seed)
        tf.train.get_or_create_global_step()
        is_training = tf.placeholder(tf.bool, [])
        output = layers.dropout(tf.ones([1000]), 0.5, is_training)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run(output, {is_training: False}).tolist() == [1.0] * 1000
            assert set(session.run(output, {is_training: True})) == {0.0, 2.0}


def test_dropout_gradient_passes_through_the_kept_activations_only():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        step = tf.train.get_or_create_global_step()
        inputs = tf.ones([1000])
        output = layers.dropout(inputs, 0.5)
        step.load(4, session)
        values, gradient = session.run([output, tf.gradients(output, inputs)[0]])
    np.testing.assert_array_equal(values, gradient)


@pytest.mark.parametrize(
    ("strides", "stem_stride", "expected"),
    [
        *(([2], None, [2]), ([2], 2, [2]), ([2], 1, [1])),
        *(([2, 2], None, [2, 2]), ([2, 2], 4, [2, 2]), ([2, 2], 2, [2, 1]), ([2, 2], 1, [1, 1])),
        *(([2, 2, 1, 1, 2], 4, [2, 2, 1, 1, 1]), ([2, 2, 1, 1, 2], 2, [2, 1, 1, 1, 1])),
    ],
)
def test_stem_strides_keeps_the_first(strides, stem_stride, expected):
    assert layers.stem_strides(strides, stem_stride) == expected


@pytest.mark.parametrize("stem_stride", [0, 3, 8])
def test_stem_strides_that_do_not_exist(stem_stride):
    with pytest.raises(FlagError, match=f"stem_stride {stem_stride} is not .* from 1, 2, 4$"):
        layers.stem_strides([2, 1, 2], stem_stride)


@pytest.mark.parametrize(
    ("kernel_size", "rate", "expected"),
    [
        (3, 1, [1, 6, 7, 2]),  # total 2: 1 before, 1 after
        ([3, 3], 2, [1, 8, 9, 2]),  # total 4
        (7, 1, [1, 10, 11, 2]),  # total 6
        (1, 1, [1, 4, 5, 2]),
        ([1, 4], 1, [1, 4, 8, 2]),  # total 3 in width
    ],
)
def test_fixed_padding_shapes(kernel_size, rate, expected):
    with tf.Graph().as_default():
        padded = layers.fixed_padding(tf.ones([1, 4, 5, 2]), kernel_size, rate)
    assert padded.shape.as_list() == expected


def test_fixed_padding_puts_the_larger_half_after():
    with tf.Graph().as_default(), tf.Session() as session:
        padded = session.run(layers.fixed_padding(tf.ones([1, 1, 1, 1]), 2))
    assert padded[0, :, :, 0].tolist() == [[1, 0], [0, 0]]


HEAD = layers.Head(pool="Pool", pool_stride=2, dropout="Dropout", logits="Logits")


@pytest.mark.parametrize(
    ("size", "global_pool", "expected", "end_point"),
    [
        ((7, 7), False, [1, 1], "Pool"),
        ((1, 1), False, [1, 1], "Pool"),
        ((3, 5), False, [1, 1], "Pool"),
        ((10, 7), False, [2, 1], "Pool"),  # (10 - 7) // 2 + 1 = 2
        ((10, 12), True, [1, 1], "global_pool"),
        ((None, None), True, [1, 1], "global_pool"),
        ((None, None), False, [None, None], "Pool"),
    ],
)
def test_pooled_shrinks_its_window_to_small_maps(size, global_pool, expected, end_point):
    with tf.Graph().as_default():
        end_points = {}
        net = layers.pooled(
            tf.placeholder(tf.float32, [None, *size, 4]), HEAD, end_points, global_pool
        )
    assert net.shape.as_list() == [None, *expected, 4]
    assert end_points == {end_point: net}


def test_pooled_averages():
    with tf.Graph().as_default(), tf.Session() as session:
        maps = tf.reshape(tf.range(12.0), [1, 2, 3, 2])
        out = session.run([layers.pooled(maps, HEAD, {}, pool) for pool in (False, True)])
    # Channels 0, 2, .. 10 and 1, 3, .. 11: means 5 and 6.
    np.testing.assert_allclose(out, [[[[[5.0, 6.0]]]]] * 2, rtol=1e-6)


def test_logits_of_too_large_features_is_an_error_with_a_remedy():
    with tf.Graph().as_default(), pytest.raises(FlagError, match=r"2x1 .* global_pool=True"):
        layers.logits_of(tf.ones([1, 2, 1, 4]), HEAD, 3, 0.5, True, spatial_squeeze=True)
