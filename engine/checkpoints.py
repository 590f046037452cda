"""Checkpoints: found, written and read back.

A checkpoint is model.ckpt-N.index with its .data and .meta files, as tf.train.Saver writes them,
so that TF-Slim's tools read ours and the other way round. Which ones exist is told by the files
themselves; the text file `checkpoint` is written for other tools and never trusted.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from core import files
from core.compat import tf
from core.errors import CheckpointError, DivergedError, FlagError
from engine import flags, model
from engine.optimization import names_in_scopes
from nets.nets_factory import NETS

_NAME = "model.ckpt"
_STATE_FILE = "checkpoint"

Restore = Callable[[tf.Session], None]


def steps(directory: Path) -> list[int]:
    """The steps of which a directory holds a complete checkpoint, in ascending order."""
    found = []
    for path in directory.glob(f"{_NAME}-*.index"):
        match = re.fullmatch(rf"{re.escape(_NAME)}-(\d+)\.index", path.name)
        if match and _data_files(path):
            found.append(int(match[1]))
    return sorted(found)


def prefix(directory: Path, step: int) -> str:
    """The path of a checkpoint as TensorFlow's tools name it: without an ending."""
    return str(directory / f"{_NAME}-{step}")


def step_of(path: str) -> int | None:
    """The global step in a checkpoint's name, None if it has none."""
    match = re.search(r"-(\d+)$", path)
    return int(match[1]) if match else None


def resolve(path: str) -> str:
    """The checkpoint that a path means, as a prefix.

    Args:
        path: a directory (its newest checkpoint is meant), a checkpoint's prefix, or any one of
            its files.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    if Path(path).is_dir():
        found = steps(Path(path))
        if found:
            return prefix(Path(path), found[-1])
        # A checkpoint of other tools may have any name; then the state file is all there is.
        latest = tf.train.latest_checkpoint(path)
        if latest:
            return latest
        raise CheckpointError("no checkpoint in the directory yet", where=path)
    stripped = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if not Path(f"{stripped}.index").is_file():
        raise CheckpointError(
            "no such checkpoint",
            where=path,
            remedy="pass a run directory or a prefix such as DIR/model.ckpt-1234",
        )
    return stripped


def starting_point(directory: Path, config: Any) -> Restore:
    """Decides where training starts, and returns the function that brings a session there.

    1. A checkpoint in the run directory: resume, all variables and the global step.
    2. --checkpoint_path: warm start, the model's variables only, from global step 0.
    3. Neither: start from scratch.

    Call it when the graph is complete.

    Raises:
        FlagError: the checkpoint does not fit the model or the flags.
        CheckpointError: the checkpoint cannot be read.
    """
    found = steps(directory)
    if found:
        if config.checkpoint_path:
            logging.info(
                "Ignoring --checkpoint_path because a checkpoint already exists in %s", directory
            )
        path = prefix(directory, found[-1])
        return _resume(path)
    if config.checkpoint_path:
        return _warm_start(resolve(config.checkpoint_path), config)
    initialize = tf.global_variables_initializer()
    return lambda session: session.run(initialize)


def restorer(variables: dict[str, tf.Variable]) -> Callable[[tf.Session, str], None]:
    """A function of (session, checkpoint) that reads variables, given by their names there.

    It raises CheckpointError if the checkpoint is damaged.
    """
    saver = tf.train.Saver(variables)

    def restore(session: tf.Session, path: str) -> None:
        try:
            saver.restore(session, path)
        except (tf.errors.OpError, ValueError) as error:
            raise CheckpointError(
                f"damaged checkpoint: {str(error).splitlines()[0]}", where=path
            ) from None

    return restore


def check_fits(
    path: str, variables: dict[str, tf.Variable], model_name: str, remedy: str
) -> list[str]:
    """Compares a checkpoint with variables by name and shape.

    Args:
        path: the checkpoint.
        variables: by their names in the checkpoint.
        model_name: the net they belong to.
        remedy: what to do if the number of classes differs, with {head} for the head's scope.

    Returns:
        The names that the checkpoint lacks.

    Raises:
        FlagError: none of the variables is in it, or one has another shape.
        CheckpointError: the checkpoint cannot be read.
    """
    shapes = _shapes(path)
    missing = [name for name in variables if name not in shapes]
    if len(missing) == len(variables):
        there = sorted({name.split("/")[0] for name in shapes})
        raise FlagError(
            f"the checkpoint holds no variable of {model_name}, but {', '.join(there[:5])}",
            where=path,
            remedy="check --model_name",
        )
    for name, variable in variables.items():
        if name in shapes and variable.shape.as_list() != shapes[name]:
            heads = [head for head in NETS[model_name].head_scopes if f"{name}/".startswith(head)]
            there, here = shapes[name], variable.shape.as_list()
            if heads:
                raise FlagError(
                    f"the checkpoint has {there[-1]} classes, the dataset {here[-1]}",
                    where=path,
                    remedy=remedy.format(head=heads[0]),
                )
            raise FlagError(f"{name} is {there} in the checkpoint, {here} here", where=path)
    return missing


def _resume(path: str) -> Restore:
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    shapes = _shapes(path)
    here = {name: variable.shape.as_list() for name, variable in variables.items()}
    # Both ways: a state of the optimizer that is left behind is another training, too.
    every = sorted(here.keys() | shapes.keys())
    wrong = [name for name in every if here.get(name) != shapes.get(name)]
    if wrong:
        raise FlagError(
            f"{len(wrong)} variables differ, such as {wrong[0]}: {_shape(shapes, wrong[0])} in the "
            f"checkpoint, {_shape(here, wrong[0])} in this run",
            where=path,
            remedy="resume with the same --optimizer, --trainable_scopes and "
            "--moving_average_decay, or use another --train_dir",
        )
    logging.info("Resuming from %s", path)
    restore = restorer(variables)
    return lambda session: restore(session, path)


def _warm_start(path: str, config: Any) -> Restore:
    """The model's variables from a checkpoint; all others as at the start."""
    variables = model.variables_to_restore(None)
    excluded = names_in_scopes(
        list(variables),
        flags.scopes(config.checkpoint_exclude_scopes),
        "--checkpoint_exclude_scopes",
    )
    wanted = {name: variable for name, variable in variables.items() if name not in excluded}
    remedy = "to fine-tune pass --checkpoint_exclude_scopes={head}"
    missing = check_fits(path, wanted, config.model_name, remedy) if wanted else []
    if missing and not config.ignore_missing_vars:
        raise FlagError(
            f"the checkpoint lacks {len(missing)} variables, such as {missing[0]}",
            where=path,
            remedy="pass --ignore_missing_vars, or exclude their scopes",
        )
    restored = {name: variable for name, variable in wanted.items() if name not in missing}
    logging.info("Fine-tuning from %s", path)
    logging.info("Restored %d of %d model variables", len(restored), len(variables))
    for name in sorted(excluded | set(missing)):
        logging.info("Not restored: %s", name)
    initialize = tf.global_variables_initializer()
    restore = restorer(restored) if restored else None

    def start(session: tf.Session) -> None:
        session.run(initialize)
        if restore:
            restore(session, path)

    return start


def _shape(shapes: dict[str, list[int]], name: str) -> str:
    return str(shapes[name]) if name in shapes else "missing"


def _shapes(path: str) -> dict[str, list[int]]:
    try:
        return tf.train.load_checkpoint(path).get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"cannot read the checkpoint: {str(error).splitlines()[0]}", where=path
        ) from None


def _data_files(index: Path) -> list[Path]:
    return list(index.parent.glob(f"{index.stem}.data-*"))


class Writer:
    """Writes the checkpoints of one run, and deletes the oldest.

    Make it when the graph is complete, and hold the directory's lock.

    Args:
        directory: the run directory.
        keep: how many checkpoints to keep; 0 keeps all.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._keep = directory, keep
        variables = tf.global_variables()
        self._saver = tf.train.Saver(variables, max_to_keep=0)
        floats = [variable for variable in variables if variable.dtype.base_dtype.is_floating]
        self._names = [variable.op.name for variable in floats]
        self._finite = tf.stack([tf.reduce_all(tf.is_finite(v.read_value())) for v in floats])
        # The same for each checkpoint, and for a large net slow to make.
        self._meta_graph = self._saver.export_meta_graph().SerializeToString()

    def save(self, session: tf.Session, step: int) -> None:
        """Writes the checkpoint of a step, unless it exists.

        Raises:
            DivergedError: a variable is not finite; nothing is written.
        """
        if step in steps(self._directory):
            return
        self._check_finite(session, step)
        path = prefix(self._directory, step)
        logging.info("Saving checkpoint to path %s", path)
        with files.staging(self._directory) as stage:
            name = Path(path).name
            self._saver.save(session, str(stage / name), write_meta_graph=False, write_state=False)
            (stage / f"{name}.meta").write_bytes(self._meta_graph)
            # The index last: a checkpoint without it does not exist.
            names = sorted(p.name for p in stage.iterdir() if p.suffix != ".index")
            files.commit(stage, [*names, f"{name}.index"], self._directory)
        found = steps(self._directory)
        kept = found[-self._keep :]  # all of them if 0
        self._write_state(kept)  # first: it then never names what is deleted
        self._delete(found[: -len(kept)])

    def _check_finite(self, session: tf.Session, step: int) -> None:
        finite = session.run(self._finite)
        if not finite.all():
            raise self.diverged(f"{self._names[finite.argmin()]} is not finite at step {step}")

    def diverged(self, what: str) -> DivergedError:
        """The error of a run that cannot go on, with the checkpoint to fall back to."""
        good = steps(self._directory)
        where = f"{prefix(self._directory, good[-1])} is the last good checkpoint" if good else ""
        return DivergedError(what, where=where, remedy="lower --learning_rate")

    def _delete(self, old: list[int]) -> None:
        for step in old:
            path = Path(prefix(self._directory, step))
            # The index first: what is left after a crash is then no checkpoint.
            for ending in (".index", ".meta"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            for data in path.parent.glob(f"{path.name}.data-*"):
                data.unlink()

    def _write_state(self, kept: list[int]) -> None:
        """The file `checkpoint`, with relative paths, so that a run directory can be moved."""
        names = [f"{_NAME}-{step}" for step in kept]
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        files.write_text(self._directory / _STATE_FILE, "\n".join(lines) + "\n")
