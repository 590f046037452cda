import pytest

from benchmarks import flop
from core.compat import slim, tf
from nets import nets_factory


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def test_layers_are_counted_as_by_hand(graph):
    images = tf.zeros([2, 9, 8, 3])
    # SAME with stride 2: 5x4 outputs of 16 channels, each of 3x3x3 products.
    layer = slim.conv2d(images, 16, [3, 3], stride=2)
    # VALID: 3x2 outputs of 16 channels, each of 3x3 products of one channel.
    layer = slim.separable_conv2d(layer, None, [3, 3], depth_multiplier=1, padding="VALID")
    # From 3 * 2 * 16 = 96 features to 5.
    logits = slim.fully_connected(slim.flatten(layer), 5)
    first = 2 * 2 * (5 * 4 * 16) * (3 * 3 * 3)
    second = 2 * 2 * (3 * 2 * 16) * (3 * 3)
    third = 2 * 2 * 5 * 96
    counts = [flop.forward(operation) for operation in graph.get_operations()]
    assert [count for count in counts if count] == [first, second, third]
    # Weights and input of each layer have a gradient, but nobody asks for that of the pictures.
    assert flop.training_step(graph) == 2 * first + 3 * second + 3 * third
    assert logits.shape == [2, 5]


@pytest.mark.parametrize("transpose", [False, True])
def test_a_product_sums_over_the_inner_dimension(graph, transpose):
    right = tf.zeros([7, 4] if transpose else [4, 7])
    tf.matmul(tf.zeros([3, 4]), right, transpose_b=transpose)
    assert flop.training_step(graph) == 2 * (2 * 3 * 4 * 7)


@pytest.mark.parametrize(
    ("net", "size", "millions"),
    [
        # Multiply-adds per picture that the papers give: Howard et al., 2017, table 4 (569); He et
        # al., 2015, table 1 (3.8 * 10^9); Szegedy et al., 2014, table 1 (1502, row by row).
        ("mobilenet_v1", 224, 569),
        ("resnet_v1_50", 224, 3800),
        ("inception_v1", 224, 1502),
    ],
)
def test_nets_take_what_their_papers_say(graph, net, size, millions):
    network_fn = nets_factory.get_network_fn(net, num_classes=1001, is_training=True)
    network_fn(tf.zeros([1, size, size, 3]))
    counted = sum(map(flop.forward, graph.get_operations())) / 2e6
    assert counted == pytest.approx(millions, rel=0.1)
