"""How many floating point operations a training step takes.

Counted here and not by TensorFlow's profiler, which knows no backward depthwise convolution, and
counts the gradient of the input pictures, which nobody computes.
"""

import math

from core.compat import tf


def training_step(graph: tf.Graph) -> int:
    """Operations of one training step, of the net whose forward pass a graph holds.

    Convolutions and matrix products alone, a multiplication and an addition counted as two, zeros
    of the padding included. Each layer takes its forward operations once more for the gradient of
    its weights and once more for that of its input; only the first layer's input needs none.

    Args:
        graph: before any gradient is in it; of a fixed batch size.
    """
    layers = [count for count in map(forward, graph.get_operations()) if count]
    return 3 * sum(layers) - layers[0]


def forward(operation: tf.Operation) -> int:
    """Operations of a convolution or matrix product; 0 for all else."""
    # Of what is summed up for one number of the output: the first dimensions of the weights.
    dimensions = {"Conv2D": 3, "DepthwiseConv2dNative": 2, "MatMul": 1}.get(operation.type)
    if not dimensions:
        return 0
    weights = operation.inputs[1].shape.as_list()
    if operation.type == "MatMul" and operation.get_attr("transpose_b"):
        weights.reverse()
    return 2 * operation.outputs[0].shape.num_elements() * math.prod(weights[:dimensions])
