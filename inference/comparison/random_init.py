"""A net that has learned nothing, as a run directory: for measuring what needs no training."""

import dataclasses
import json
from pathlib import Path

from core import files
from core.compat import tf
from core.errors import FlagError
from engine import checkpoint_writer, model, run_dir
from nets.nets_factory import NETS

_SEED = 0  # any: the same for every net and call, so that the weights are the same, too
_CHANNELS = 3


def write(model_name: str, image_size: int | None, num_classes: int, directory: Path) -> None:
    """Writes the checkpoint of step 0 and run.json of a net with its initial weights.

    Args:
        model_name: the net.
        image_size: height and width, pixels; None for that of the net.
        num_classes: outputs of the net; their names are "0", "1", ...
        directory: new or empty.

    Raises:
        FlagError: unknown net, fewer than two classes, an image size that the net cannot have, or
            there is something in the directory.
        MachineError: it cannot be written to, or the disk is full.
    """
    run = run_dir.Run(
        dataset_name="",
        dataset_dir="",
        model_name=model_name,
        preprocessing_name=NETS[model_name].preprocessing,
        image_size=image_size or model.default_image_size(model_name),
        channels=_CHANNELS,
        use_grayscale=False,
        class_names=tuple(map(str, range(num_classes))),
        labels_offset=0,
        moving_average_decay=None,
        max_number_of_steps=None,
    )
    run_dir.check_num_classes(run)
    directory = files.make_directory(directory)
    if any(directory.iterdir()):
        raise FlagError(
            "the directory is not empty", where=str(directory), remedy="pass another one"
        )
    with files.locked(directory), tf.Graph().as_default():
        tf.set_random_seed(_SEED)
        images = tf.placeholder(tf.float32, [None, run.image_size, run.image_size, run.channels])
        model.build_net(images, run.num_classes, run, is_training=False)
        writer = checkpoint_writer.Writer(directory, keep=1)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            writer.save(session, step=0)
        text = json.dumps(dataclasses.asdict(run), indent=2) + "\n"
        files.write_text(directory / run_dir.RUN_FILE, text)
