"""Checkpoints of a net as graphs for inference."""

import contextlib
from collections.abc import Iterator
from typing import Any

from core.compat import tf
from core.errors import FlagError
from engine import checkpoints, folding, model, sessions


class Freezer:
    """Turns checkpoints of a net into graphs that hold their weights, with batch norm folded.

    Use it inside the graph that the net is to be built in.

    Args:
        image_size: height and width, pixels.
        channels: of the preprocessed pictures.
        num_classes: C, outputs of the net.
        config: read here: model_name, moving_average_decay, and the flags that are the net's
            arguments; a run's description has them all.

    Attributes:
        images: placeholder float32 [N, image_size, image_size, channels], preprocessed pictures.
        logits: float32 [N, C].
        end_points: the net's layers by name.
        variable_names: of the net's variables.
    """

    def __init__(self, image_size: int, channels: int, num_classes: int, config: Any) -> None:
        self._config = config
        self.images = tf.placeholder(
            tf.float32, [None, image_size, image_size, channels], name="images"
        )
        self.logits, self.end_points = model.build_net(
            self.images, num_classes, config, is_training=False
        )
        self._variables = model.variables_to_restore(config.moving_average_decay)
        self.variable_names = [variable.op.name for variable in self._variables.values()]
        self._restore = checkpoints.restorer(self._variables)

    @contextlib.contextmanager
    def restored(self, checkpoint: str, config: Any) -> Iterator[tf.Session]:
        """A session in which the net, as it was trained, has the weights of a checkpoint.

        Args:
            checkpoint: as `checkpoints.resolve` gives it.
            config: what `sessions.session` reads.

        Raises:
            FlagError: the checkpoint is of another net or of other classes.
            CheckpointError: it cannot be read.
        """
        missing = checkpoints.check_fits(checkpoint, self._variables, self._config)
        if missing:
            raise FlagError(
                f"the checkpoint lacks {len(missing)} variables, such as {missing[0]}",
                where=checkpoint,
                remedy="check --model_name and --moving_average_decay",
            )
        with self.logits.graph.as_default(), sessions.session(config) as session:
            self._restore(session, checkpoint)
            yield session

    def frozen(self, checkpoint: str, config: Any) -> tf.GraphDef:
        """The net from `images` to `logits`, with the weights of a checkpoint as constants.

        Args and errors are those of `restored`.
        """
        with self.restored(checkpoint, config) as session:
            return folding.frozen(session, self.logits)
