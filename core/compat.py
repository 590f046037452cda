"""The only place that knows tf-slim 1.1.0 is older than TensorFlow 2.21.

Everything else imports `tf` (the TensorFlow 1 interface) and `slim` from here.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow.compat.v1 as tf  # noqa: E402
from tensorflow.python.framework import indexed_slices, ops, tensor  # noqa: E402
from tensorflow.python.ops import array_ops, array_ops_stack  # noqa: E402
from tensorflow.python.ops import cond, control_flow_assert, control_flow_case  # noqa: E402
from tensorflow.python.ops import control_flow_ops, while_loop  # noqa: E402
from tf_keras.src import legacy_tf_layers  # noqa: E402
from tf_keras.src.legacy_tf_layers import (  # noqa: E402
    base,
    convolutional,
    core,
    normalization,
    pooling,
)

sys.modules["tf_keras.legacy_tf_layers"] = legacy_tf_layers
for _module in (base, convolutional, core, normalization, pooling):
    sys.modules[f"tf_keras.legacy_tf_layers.{_module.__name__.rsplit('.', 1)[1]}"] = _module
ops.Tensor = tensor.Tensor
ops.IndexedSlices = indexed_slices.IndexedSlices
control_flow_ops.case = control_flow_case.case
control_flow_ops.cond = cond.cond
control_flow_ops.while_loop = while_loop.while_loop
control_flow_ops.Assert = control_flow_assert.Assert
array_ops.stack = array_ops_stack.stack
array_ops.unstack = array_ops_stack.unstack

import tf_slim as slim  # noqa: E402

__all__ = ["slim", "tf"]
