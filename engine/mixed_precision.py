"""Training in mixed precision: convolutions and matrix products in bfloat16 (--mixed_precision).

Micikevicius et al., "Mixed Precision Training", ICLR 2018, with bfloat16 in place of float16: it
has the range of float32, so that the loss need not be scaled (Kalamkar et al., "A Study of BFLOAT16
for Deep Learning Training", 2019). Variables, their updates, the loss and the statistics of batch
norm stay float32. TensorFlow's graph rewriting puts in the casts.
"""

import os
from typing import Any

from absl import logging

from core import processor
from core.compat import tf

# Where TensorFlow reads what to take off its list of operations that gain by bfloat16: depthwise
# convolutions, which took three to four times as long in it (TensorFlow 2.21).
_LEFT_OUT = {
    "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE": ",".join(
        f"DepthwiseConv2dNative{kind}" for kind in ("", "BackpropInput", "BackpropFilter")
    )
}


def computed_in(config: Any) -> str:
    """What training multiplies in on this machine: "float32" or "bfloat16".

    Args:
        config: read here: mixed_precision.
    """
    if config.mixed_precision == "off" or not processor.multiplies_bfloat16():
        return "float32"
    # TensorFlow rewrites graphs for bfloat16 only where it computes with oneDNN.
    is_off = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false")
    return "float32" if is_off else "bfloat16"


def apply(proto: tf.ConfigProto, config: Any) -> None:
    """Lets the sessions made with `proto` compute in the precision of --mixed_precision.

    On a processor that does not multiply bfloat16, where it would be emulated, and without oneDNN
    that is float32, with a warning. What is left out goes into the environment of the process:
    TensorFlow looks for it nowhere else.

    Args:
        proto: is changed.
        config: read here: mixed_precision.
    """
    if config.mixed_precision == "off":
        return
    if computed_in(config) == "float32":
        logging.warning(
            "No bfloat16 here, which takes a processor that multiplies it, and oneDNN: training in "
            "float32."
        )
        return
    os.environ.update(_LEFT_OUT)
    rewriting = proto.graph_options.rewrite_options
    rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
