"""Sessions of TensorFlow, and how they use the machine."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from core.compat import tf
from core.errors import FlagError
from engine import mixed_precision


@dataclasses.dataclass(frozen=True)
class Machine:
    """The flags of `define_machine`, for what has no others to pass to a session."""

    inter_op_threads: int = 0
    intra_op_threads: int = 0
    master: str = ""


ALL_CORES = Machine()


def session_config(config: Any) -> tf.ConfigProto:
    """How TensorFlow uses the machine.

    Args:
        config: read here: inter_op_threads, intra_op_threads, and, of training, clone_on_cpu and
            mixed_precision.
    """
    proto = tf.ConfigProto(
        inter_op_parallelism_threads=config.inter_op_threads,
        intra_op_parallelism_threads=config.intra_op_threads,
        # An operation without a GPU kernel runs on the CPU instead of ending the run.
        allow_soft_placement=True,
        device_count={"GPU": 0} if getattr(config, "clone_on_cpu", False) else {},
    )
    proto.gpu_options.allow_growth = True
    if hasattr(config, "mixed_precision"):  # evaluation is float32
        mixed_precision.apply(proto, config)
    return proto


@contextlib.contextmanager
def session(config: Any) -> Iterator[tf.Session]:
    """A session on --master.

    Args:
        config: read here: master, and what `session_config` reads.

    Raises:
        FlagError: no server answers to --master.
    """
    try:
        opened = tf.Session(config.master, config=session_config(config))
    except tf.errors.OpError as error:
        raise FlagError(
            f"--master={config.master}: {error.message.splitlines()[0]}",
            remedy="pass grpc://HOST:PORT, or leave it out",
        ) from None
    with opened:
        yield opened
