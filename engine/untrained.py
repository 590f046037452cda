"""A run directory of a net that was not trained here: its weights are drawn, or given."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from core import files
from core.compat import slim, tf
from core.errors import FlagError
from engine import checkpoint_writer, model, run_dir
from nets.nets_factory import NETS

_SEED = 0  # any: the same for every net and call, so that the weights are the same, too
_CHANNELS = 3

Shapes = Mapping[str, tuple[int, ...]]


def write(
    directory: Path,
    model_name: str,
    image_size: int | None,
    class_names: Sequence[str],
    values: Callable[[Shapes], Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Writes the checkpoint of step 0 and run.json of a net.

    Args:
        directory: new or empty.
        model_name: the net.
        image_size: height and width, pixels; None for that of the net.
        class_names: of the outputs of the net. Empty: it has no head, and no run.json, which would
            say what the outputs mean.
        values: gives the variables, by name, of their shapes. Those that it leaves out are not in
            the checkpoint. None: the net's own initial values.

    Raises:
        FlagError: unknown net, one class, an image size that the net cannot have, or
            there is something in the directory.
        MachineError: it cannot be written to, or the disk is full.
    """
    run = run_dir.Run(
        dataset_name="",
        dataset_dir="",
        model_name=model_name,
        preprocessing_name=NETS[model_name].preprocessing,
        image_size=image_size or NETS[model_name].image_size,
        channels=_CHANNELS,
        use_grayscale=False,
        class_names=tuple(class_names),
        labels_offset=0,
        moving_average_decay=None,
        max_number_of_steps=None,
    )
    if class_names:
        run_dir.check_num_classes(run)
    directory = files.make_directory(directory)
    if any(directory.iterdir()):
        raise FlagError(
            "the directory is not empty", where=str(directory), remedy="pass another one"
        )
    with files.locked(directory):
        graph, variables = _built(run)
        shapes = {name: tuple(each.shape.as_list()) for name, each in variables.items()}
        given = None if values is None else values(shapes)
        with graph.as_default(), tf.Session() as session:
            if given is None:
                session.run(tf.global_variables_initializer())
            else:
                variables = {name: variables[name] for name in given}
                initial = {v.initializer.inputs[1]: given[name] for name, v in variables.items()}
                session.run([v.initializer for v in variables.values()], initial)
            writer = checkpoint_writer.Writer(directory, keep=1, variables=[*variables.values()])
            writer.save(session, step=0)
        if class_names:
            text = json.dumps(dataclasses.asdict(run), indent=2, ensure_ascii=False) + "\n"
            files.write_text(directory / run_dir.RUN_FILE, text)


def _built(run: run_dir.Run) -> tuple[tf.Graph, dict[str, tf.Variable]]:
    """The net of a run in a graph of its own, and its variables by name."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(_SEED)
        images = tf.placeholder(tf.float32, [None, run.image_size, run.image_size, run.channels])
        model.build_net(images, run.num_classes, run, is_training=False)
        return graph, {variable.op.name: variable for variable in slim.get_model_variables()}
