"""What a net costs on any machine: its parameters, and the operations that a picture takes.

Operations are counted by TensorFlow's profiler, in the net as evaluation builds it, from a prepared
picture to the logits. The profiler counts convolutions and matrix products as two operations per
multiply-add, zeros of the padding included, and biases, pools and sums; for batch norm, which an
export has folded into the convolutions, and for activations it has no count.
"""

from typing import NamedTuple

from core import compat
from core.compat import tf
from engine import model, run_dir

_PRODUCTS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")


class Cost(NamedTuple):
    """What a net costs."""

    parameters: int  # values of the trainable variables
    flops: int  # floating point operations for one picture
    multiply_adds: int  # of convolutions and matrix products alone, for one picture


def cost(run: run_dir.Run) -> Cost:
    """What the net of a run costs, with the image size and the classes of the run.

    Raises:
        FlagError: the run is of no net that is known, or the net cannot be built so.
    """
    with tf.Graph().as_default() as graph, compat.quiet():
        channels = 1 if run.use_grayscale else run.channels
        images = tf.placeholder(tf.float32, [1, run.image_size, run.image_size, channels])
        logits, _ = model.build_net(images, run.num_classes, run, is_training=False)
        parameters = sum(variable.shape.num_elements() for variable in tf.trainable_variables())
        # Without the initializers, whose multiplications and additions are none of a picture's.
        forward = tf.graph_util.extract_sub_graph(graph.as_graph_def(), [logits.op.name])
        operations = _operations(forward)
    products = sum(operations.get(kind, 0) for kind in _PRODUCTS)
    return Cost(parameters, sum(operations.values()), products // 2)


def _operations(graph_def: tf.GraphDef) -> dict[str, int]:
    """The floating point operations of a graph, summed up by type of node."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    builder = tf.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    types = tf.profiler.profile(graph, cmd="op", options=options)
    found = {}
    while types.children:  # a chain, not a tree: each type is the only child of the one before
        (types,) = types.children
        found[types.name] = types.float_ops
    return found
