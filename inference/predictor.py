"""A trained model that classifies pictures, whatever it is kept in."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from core import files, registry
from core.compat import tf
from core.errors import CheckpointError, DataError, DivergedError
from engine import checkpoints, run_dir, sessions
from engine.sessions import Machine
from inference import graph, source
from inference.formats import FORMATS

SUMS = ".sha256"  # ending of the file with an export's checksum; its whole name in a directory
SAVED_MODEL = "saved_model.pb"

# Ending of an export -> place of what opens it.
_OPENERS = {format_.ending: format_.open for format_ in FORMATS.values() if format_.open}


@dataclasses.dataclass(frozen=True)
class Model:
    """What is known of a trained model apart from its graph."""

    source: str  # the checkpoint or export that it was read from
    version: int  # number of a numbered export, else the global step
    run: run_dir.Run

    @property
    def model_name(self) -> str:
        """The net."""
        return self.run.model_name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the outputs, in their order."""
        return tuple(graph.outputs(self.run))

    @property
    def image_size(self) -> int:
        """Height and width of the pictures as the net takes them, pixels."""
        return self.run.image_size

    @property
    def channels(self) -> int:
        """Of the pictures as they are decoded."""
        return self.run.channels


class Predictor:
    """A model, open; `open_model` gives it.

    Args:
        model: what it is.
        run: takes a non-empty list of image files, gives probabilities; from any thread.
        close: frees what `run` uses.
    """

    def __init__(
        self,
        model: Model,
        run: Callable[[list[bytes]], np.ndarray],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self._run = run
        self.close = close

    def probabilities(self, encoded: Sequence[bytes]) -> np.ndarray:
        """The probabilities of all classes, for each of N pictures.

        It can be called from several threads at a time.

        Args:
            encoded: image files, as `datasets.images.load` gives them.

        Returns:
            float32 [N, C], each row with a sum of 1.

        Raises:
            DataError: TensorFlow cannot decode one of the pictures.
            DivergedError: an output is not finite.
        """
        if not encoded:
            return np.zeros([0, len(self.model.class_names)], np.float32)
        try:
            found = self._run(list(encoded))
        except tf.errors.InvalidArgumentError as error:
            raise DataError(f"TensorFlow cannot decode it: {checkpoints.reason(error)}") from None
        if not np.isfinite(found).all():
            raise DivergedError(
                "the model outputs NaN or Inf",
                where=self.model.source,
                remedy="take an older checkpoint",
            )
        return found


def open_model(path: str, machine: Machine = sessions.ALL_CORES) -> Predictor:
    """Opens what a path means: a run directory, a checkpoint, an export, or numbered exports.

    Raises:
        CheckpointError: there is nothing of the kind, or it is damaged.
        FlagError: a checkpoint does not fit the net that its run.json names.
        MachineError: a library that reads the format is not installed.
    """
    export = newest(path)
    # A SavedModel is told by what is in it, not by its name.
    opener = _OPENERS.get("" if _is_saved_model(export) else Path(export).suffix or None)
    if opener:
        return registry.load(opener)(export, machine)
    return _open_checkpoint(path, machine)


def newest(path: str) -> str:
    """The concrete model that a path means now, found without reading it.

    Of a run directory that is the newest checkpoint, of a directory of numbered exports (1, 2, ...,
    as TensorFlow Serving has them) the one with the highest number.

    Raises:
        CheckpointError: there is none.
    """
    if _is_saved_model(path):
        return path
    if Path(path).is_dir():
        numbers = (entry.name for entry in Path(path).iterdir() if entry.name.isdecimal())
        for number in sorted(numbers, key=int, reverse=True):
            if _is_saved_model(export := str(Path(path) / number)):
                return export
        return checkpoints.candidates(path)[0]
    if _OPENERS.get(Path(path).suffix or None):
        if not Path(path).is_file():
            raise CheckpointError("no such export", where=path)
        return path
    return checkpoints.candidates(path)[0]


def _is_saved_model(path: str) -> bool:
    return (Path(path) / SAVED_MODEL).is_file()


def described(description: str, path: str) -> Model:
    """The model that an export at a path says it is.

    Args:
        description: JSON, as `graph.describe` gives it.
        path: the export.

    Raises:
        CheckpointError: it is not the description of one.
    """
    try:
        content = json.loads(description)
        step = int(content["global_step"])
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            "not an export of this project: it does not describe itself",
            where=path,
            remedy="make it with export_inference_graph.py",
        ) from None
    name = Path(path).name
    return Model(
        path, int(name) if name.isdecimal() else step, run_dir.described(content, Path(path))
    )


def check_sums(path: str) -> None:
    """Compares an export that is one file with the checksum beside it, if it is there.

    Raises:
        CheckpointError: they differ.
    """
    sums = Path(path + SUMS)
    if sums.exists():
        files.check_sums(sums, [Path(path)])


def of_graph(classifying: tf.GraphDef, model: Model, machine: Machine) -> Predictor:
    """What a graph as `graph.classifying` makes it predicts."""
    with tf.Graph().as_default() as the_graph:
        tf.import_graph_def(classifying, name="")
    session = tf.Session(graph=the_graph, config=sessions.session_config(machine))
    run = session.make_callable(f"{graph.PROBABILITIES}:0", [f"{graph.IMAGE_BYTES}:0"])
    return Predictor(model, run, session.close)


def of_source(read: source.Source, machine: Machine) -> Predictor:
    """What a checkpoint predicts."""
    return of_graph(read.classifying(), Model(read.checkpoint, read.step, read.run), machine)


def of_prepared(
    run: Callable[[np.ndarray], np.ndarray], model: Model, machine: Machine
) -> Predictor:
    """What another library predicts, of pictures that TensorFlow has decoded and prepared.

    Args:
        run: from float32 [N, size, size, channels] to probabilities, float32 [N, C].
        model: what it is.
        machine: for TensorFlow.
    """
    with tf.Graph().as_default() as the_graph:
        image_bytes = tf.placeholder(tf.string, [None])
        images = graph.prepared(image_bytes, model.run)
    session = tf.Session(graph=the_graph, config=sessions.session_config(machine))
    prepare = session.make_callable(images, [image_bytes])
    return Predictor(model, lambda encoded: run(prepare(encoded)), session.close)


def _open_checkpoint(path: str, machine: Machine) -> Predictor:
    run = run_dir.read(run_dir.place_of(path))
    if run is None:
        checkpoints.candidates(path)  # a mistyped path is to be told first
        raise CheckpointError(
            f"no {run_dir.RUN_FILE} beside the checkpoint, which says what it is",
            where=path,
            remedy="export it by export_inference_graph.py with --model_name and the classes, "
            "and pass the export",
        )
    return of_source(source.read(path, run, machine), machine)
