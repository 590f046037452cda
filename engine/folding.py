"""A trained net for inference: weights as constants, batch norm folded into the convolutions.

TensorFlow's own optimize_for_inference_lib.fold_batch_norms goes over the weights one by one in
Python, which takes ResNet-50 half a minute.
"""

import collections
from collections.abc import Mapping

import numpy as np

from core.compat import tf


def frozen(session: tf.Session, output: tf.Tensor) -> tf.GraphDef:
    """The part of a session's graph that leads to a tensor, with its variables as constants.

    Where batch norm in inference mode follows a convolution, `a (w x - mean) + beta` with
    `a = gamma / sqrt(variance + epsilon)` becomes `(a w) x + (beta - a mean)`: Jacob et al. 2018,
    "Quantization and training of neural networks", section 3.2. Where something lies between the
    two, such as what makes a depthwise convolution atrous, it stays, and where something else reads
    the convolution too.

    Args:
        session: with values for all variables.
        output: of its graph.

    Returns:
        The graph; names of nodes are what they were.
    """
    graph = tf.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), [output.op.name]
    )
    nodes = {node.name: node for node in graph.node}
    readers = collections.Counter(name for node in graph.node for name in node.input)
    for node in list(graph.node):
        is_norm = node.op == "FusedBatchNormV3" and not node.attr["is_training"].b
        if is_norm and readers[node.input[0]] == 1:  # or weights would be scaled for others too
            _fold(node, nodes, graph)
    return tf.graph_util.extract_sub_graph(graph, [output.op.name])


def _fold(norm: tf.NodeDef, nodes: Mapping[str, tf.NodeDef], graph: tf.GraphDef) -> None:
    """Makes a bias of a batch norm and scales the convolution before it, if that is what it is."""
    convolution = nodes[norm.input[0].partition(":")[0]]
    if convolution.op not in ("Conv2D", "DepthwiseConv2dNative"):
        return
    weights = _value(convolution.input[1], nodes)
    gamma, beta, mean, variance = (_value(name, nodes) for name in norm.input[1:5])
    scale = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
    # Channels out are the last dimension, of a depthwise convolution the last two.
    channels = weights.shape[3:] if convolution.op == "Conv2D" else weights.shape[2:]
    convolution.input[1] = _add_constant(
        graph, f"{convolution.name}/folded_weights", weights * scale.reshape(channels)
    )
    offset = _add_constant(graph, f"{norm.name}/folded_offset", beta - mean * scale)
    norm.op = "BiasAdd"
    norm.input[1:] = [offset]
    for name in set(norm.attr) - {"T", "data_format"}:
        del norm.attr[name]


def _value(name: str, nodes: Mapping[str, tf.NodeDef]) -> np.ndarray:
    """The constant that a node stands for."""
    node = nodes[name]
    while node.op == "Identity":  # what reading a variable has become
        node = nodes[node.input[0]]
    return tf.make_ndarray(node.attr["value"].tensor)


def _add_constant(graph: tf.GraphDef, name: str, value: np.ndarray) -> str:
    """Adds a float32 constant; gives its name."""
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
    return name
