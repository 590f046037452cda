"""What nets cost, against arithmetic by hand and what their papers say."""

import dataclasses
import functools

import pytest

from benchmarks import flop
from core.compat import tf
from core.errors import FlagError
from engine import run_dir
from inference.comparison.cost import cost
from nets.nets_factory import get_network_fn


def run_of(model_name, image_size, num_classes, **others):
    run = run_dir.Run(
        dataset_name="tiny",
        dataset_dir="",
        model_name=model_name,
        preprocessing_name="lenet",
        image_size=image_size,
        channels=3,
        use_grayscale=False,
        class_names=tuple(map(str, range(num_classes))),
        labels_offset=0,
        moving_average_decay=None,
        max_number_of_steps=None,
    )
    return dataclasses.replace(run, **others)


@functools.cache
def cost_at_224(model_name):
    return cost(run_of(model_name, 224, 1000))


def test_lenet_costs_what_a_sheet_of_paper_says():
    # Kernels of 5x5, on 28x28 from 3 to 32 channels, on 14x14 to 64; from 7x7x64 to 1024, to 10.
    weights = [25 * 3 * 32, 25 * 32 * 64, 49 * 64 * 1024, 1024 * 10]
    biases = [32, 64, 1024, 10]
    places = [28 * 28, 14 * 14, 1, 1]
    multiply_adds = sum(map(lambda w, p: w * p, weights, places))
    added_biases = sum(map(lambda b, p: b * p, biases, places))
    pools = 4 * (14 * 14 * 32) + 4 * (7 * 7 * 64)  # of 2x2
    found = cost(run_of("lenet", 28, 10))
    assert found.parameters == sum(weights) + sum(biases) == 3_276_234
    assert found.multiply_adds == multiply_adds == 15_138_304
    assert found.flops == 2 * multiply_adds + added_biases + pools == 30_352_906


def test_the_net_is_that_of_the_run():
    """One channel of grey, and a class less by the offset."""
    run = run_of("lenet", 8, 4, use_grayscale=True, labels_offset=1)
    found = cost(run)
    # Maps of 8x8 and 4x4; 2x2x64 features.
    assert found.multiply_adds == 64 * 25 * 32 + 16 * 25 * 32 * 64 + 256 * 1024 + 1024 * 3
    assert found.parameters == (25 + 1) * 32 + (800 + 1) * 64 + (256 + 1) * 1024 + (1024 + 1) * 3


def test_mobilenet_v1_costs_what_its_paper_says():
    """Howard et al. 2017, tables 6 and 8: 4.2 million parameters, 569 million multiply-adds."""
    found = cost_at_224("mobilenet_v1")
    # Weights, gamma and beta of 10,944 channels, and the head; the body's docstring counts it.
    assert found.parameters == 3_185_088 + 2 * 10_944 + 1025 * 1000 == 4_231_976
    assert found.multiply_adds == 567_716_352 + 1024 * 1000
    assert round(found.multiply_adds / 1e6) == 569


def test_resnet_v1_50_costs_what_its_paper_says_less_what_slim_saves():
    """He et al. 2015, table 1: 3.8 billion multiply-adds, with each stride in a first 1x1 layer.

    Here the stride is in the last unit of the block before, in the 3x3 layer: it and the 1x1 layer
    behind it work on a quarter of the map. (The 4.1 billion that others give are of strides in the
    3x3 layer of the first unit.)
    """
    # A block has b = 64, 128, 256, 512 filters on maps of m = 56, 28, 14, 7 rows: m * b is always
    # the same, and so is what a 1x1 layer from b to b channels takes.
    one = (56 * 64) ** 2
    root, head = 112 * 112 * 64 * 7 * 7 * 3, 2048 * 1000
    unit = 4 + 9 + 4  # 1x1 from 4b to b, 3x3 from b to b, 1x1 from b to 4b
    first_of_all = 1 + 9 + 4 + 4  # from b channels, with a shortcut to 4b
    first = 2 + 9 + 4 + 8  # from 2b channels, with a shortcut to 4b
    paper = root + head + one * (first_of_all + 2 * unit + 3 * first + (3 + 5 + 2) * unit)
    assert 3.8e9 < paper < 3.9e9
    saved = 3 * one * (9 + 4) * 3 // 4
    found = cost_at_224("resnet_v1_50")
    assert found.multiply_adds == paper - saved == 3_482_255_360
    # Weights, gamma and beta of 26,560 channels, and the head.
    assert found.parameters == 23_454_912 + 2 * 26_560 + 2049 * 1000 == 25_557_032


def test_inception_v1_costs_what_its_paper_says():
    """Szegedy et al. 2014, table 1: its rows add up to 1502 million multiply-adds."""
    found = cost_at_224("inception_v1")
    # Weights, beta of 7,280 channels (its batch norm has no gamma), and the head.
    assert found.parameters == 5_585_344 + 7_280 + 1025 * 1000 == 6_617_624
    assert found.multiply_adds / 1e6 == pytest.approx(1502, rel=0.01)


def test_the_profiler_counts_what_the_shapes_say():
    """Depthwise convolutions included, and the flags that are arguments of the net."""
    with tf.Graph().as_default() as graph:
        get_network_fn("mobilenet_v1_025", 10)(tf.zeros([1, 32, 32, 3]))
        by_shapes = sum(map(flop.forward, graph.get_operations()))
    found = cost(run_of("mobilenet_v1", 32, 10, depth_multiplier=0.25))
    assert found.multiply_adds == by_shapes / 2
    # Weights, gamma and beta of 2,736 channels, and the head.
    assert found.parameters == 207_600 + 2 * 2_736 + 257 * 10


def test_operations_are_at_least_those_of_the_products():
    for model_name in ("mobilenet_v1", "resnet_v1_50", "inception_v1"):
        found = cost_at_224(model_name)
        # What the initializers take, two operations per weight, would be as much as 3 percent.
        assert 2 * found.multiply_adds < found.flops < 2.01 * found.multiply_adds


def test_nothing_is_printed(capfd):
    cost(run_of("lenet", 8, 3))
    assert capfd.readouterr() == ("", "")


def test_a_flag_that_the_net_does_not_have_is_told():
    with pytest.raises(FlagError, match="lenet has no --stem_stride"):
        cost(run_of("lenet", 8, 3, stem_stride=1))
