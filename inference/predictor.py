"""A trained model that classifies pictures, whatever it is kept in."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core import files, registry
from core.compat import tf
from core.errors import CheckpointError, DataError, DivergedError
from engine import checkpoints, run_dir, training
from inference import graph

SUMS = ".sha256"  # ending of the file with an export's checksum; its whole name in a directory
SAVED_MODEL = "saved_model.pb"

# Ending of an export -> what opens it. A directory that holds SAVED_MODEL is one, too.
_OPENERS = {
    ".pb": "inference.formats.frozen:open_export",
    ".tflite": "inference.formats.tflite:open_export",
    ".onnx": "inference.formats.onnx:open_export",
    SAVED_MODEL: "inference.formats.saved_model:open_export",
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """How TensorFlow uses the machine; 0 threads mean one per core."""

    inter_op_threads: int = 0
    intra_op_threads: int = 0
    master: str = ""


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


def open_model(path: str, machine: Machine = Machine()) -> Predictor:
    """Opens what a path means: a run directory, a checkpoint, an export, or numbered exports.

    Raises:
        CheckpointError: there is nothing of the kind, or it is damaged.
        FlagError: a checkpoint does not fit the net that its run.json names.
        MachineError: a library that reads the format is not installed.
    """
    path = newest(path)
    opener = _OPENERS.get(SAVED_MODEL if _is_saved_model(path) else Path(path).suffix)
    if opener and Path(path).exists():
        return registry.load(opener)(path, machine)
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
    if Path(path).suffix in _OPENERS:
        if not Path(path).is_file():
            raise CheckpointError("no such export", where=path)
        return path
    return checkpoints.candidates(path)[0]


def _is_saved_model(path: str) -> bool:
    return (Path(path) / SAVED_MODEL).is_file()


def describe(run: run_dir.Run, step: int) -> dict[str, Any]:
    """What an export says of itself: the run without where its data were, and the step."""
    return dataclasses.asdict(run) | {"dataset_dir": "", "global_step": step}


def described(description: dict[str, Any], path: str) -> Model:
    """The model that an export at a path says it is.

    Raises:
        CheckpointError: it is not the description of one.
    """
    try:
        step = int(description["global_step"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            "not an export of this project: it has no description",
            where=path,
            remedy="make it with export_inference_graph.py",
        ) from None
    name = Path(path).name
    version = int(name) if re.fullmatch(r"\d+", name) else step
    return Model(path, version, run_dir.described(description, Path(path)))


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
    session = tf.Session(graph=the_graph, config=training.session_config(machine))
    run = session.make_callable(f"{graph.PROBABILITIES}:0", [f"{graph.IMAGE_BYTES}:0"])
    return Predictor(model, run, session.close)


def _open_checkpoint(path: str, machine: Machine) -> Predictor:
    place = run_dir.place_of(path)
    checkpoint = checkpoints.resolve(path)
    run = run_dir.read(place)
    if run is None:
        raise CheckpointError(
            f"no {run_dir.RUN_FILE} beside the checkpoint, which says what it is",
            where=path,
            remedy="export it by export_inference_graph.py with --model_name and the classes, "
            "and pass the export",
        )
    step = checkpoints.step_of(checkpoint) or 0
    with tf.Graph().as_default():
        freezer = graph.freezer(run)
        net = freezer.frozen(checkpoint, machine)
    classifying = graph.classifying(net, freezer, run, describe(run, step))
    return of_graph(classifying, Model(checkpoint, step, run), machine)
