"""Where training starts: from its own newest checkpoint, from another run's weights, or anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from core import files
from core.compat import tf
from core.errors import CheckpointError, FlagError
from engine import checkpoints, flags, model, run_dir
from engine.run_dir import Run
from engine.trained_layers import names_in_scopes
from preprocessing.preprocessing_factory import PREPROCESSING

_CORRUPT = "corrupt"  # sub-directory for checkpoints that were found damaged
_NAMES_SHOWN = 3  # classes of each side, where they differ

Restore = Callable[[tf.Session], None]


def starting_point(directory: Path, config: Any) -> Restore:
    """Decides where training starts, and returns the function that brings a session there.

    1. A checkpoint in the run directory: resume, all variables and the global step. If the newest
       is damaged, it is moved to the sub-directory `corrupt`, and the one before it is taken.
    2. --checkpoint_path: warm start, the model's variables only, from global step 0. They are the
       weights themselves, as in research/slim, also if the run kept moving averages of them.
    3. Neither: start from scratch.

    Call it when the graph is complete and run.json written, and hold the directory's lock.

    Raises:
        FlagError: the checkpoint does not fit the model or the flags.
        CheckpointError: the checkpoint cannot be read, or no one in the run directory.
    """
    if checkpoints.steps(directory):
        if config.checkpoint_path:
            logging.info(
                "Ignoring --checkpoint_path because a checkpoint already exists in %s", directory
            )
        return _resume(_newest_intact(directory))
    if config.checkpoint_path:
        path = checkpoints.resolve(config.checkpoint_path)
        before = run_dir.read(run_dir.place_of(path))
        return _warm_start(path, before, run_dir.read(directory), config)
    initialize = tf.global_variables_initializer()
    return lambda session: session.run(initialize)


def _newest_intact(directory: Path) -> str:
    """The checkpoint to resume from; newer ones, which are damaged, are moved out of the way."""
    try:
        intact = checkpoints.resolve(str(directory))
    except CheckpointError as error:
        raise CheckpointError(
            f"no checkpoint of the run is intact; the oldest: {error.what}",
            where=error.where,
            remedy="to begin anew use another --train_dir",
        ) from None
    for step in checkpoints.steps(directory):
        if step > checkpoints.step_of(intact):
            corrupt = files.make_directory(directory / _CORRUPT)
            for file in checkpoints.files_of(checkpoints.prefix(directory, step)):
                file.replace(corrupt / file.name)
            logging.warning("moved the damaged checkpoint of step %d to %s", step, corrupt)
    return intact


def _resume(path: str) -> Restore:
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    shapes = checkpoints.shapes_of(path)
    history = checkpoints.HISTORY
    initialize = tf.variables_initializer([variables[history]] if history in variables else [])
    if not (history in shapes and history in variables):
        variables.pop(history, None)
        shapes.pop(history, None)
    here = {name: variable.shape.as_list() for name, variable in variables.items()}
    # Both ways: a state of the optimizer that is left behind is another training, too.
    every = sorted(here.keys() | shapes.keys())
    wrong = [name for name in every if here.get(name) != shapes.get(name)]
    if wrong:
        raise FlagError(
            f"{len(wrong)} variables differ, such as {wrong[0]}: {_shape(shapes, wrong[0])} in the "
            f"checkpoint, {_shape(here, wrong[0])} in this run",
            where=path,
            remedy="resume with the same flags of optimizer, fine-tuning and moving averages, or "
            "use another --train_dir",
        )
    logging.info("Resuming from %s", path)
    restore = checkpoints.restorer(variables)

    def start(session: tf.Session) -> None:
        session.run(initialize)
        restore(session, path)

    return start


def _shape(shapes: dict[str, list[int]], name: str) -> str:
    return str(shapes[name]) if name in shapes else "missing"


def _warm_start(path: str, before: Run | None, run: Run | None, config: Any) -> Restore:
    """The model's variables from a checkpoint; all others, and a head for others, as at the start.

    Args:
        path: the checkpoint.
        before: the run that it is of, as far as that is known.
        run: this run; None only where nobody wrote its run.json.
        config: read here: checkpoint_exclude_scopes, ignore_missing_vars, and what
            `checkpoints.check_fits` reads.
    """
    logging.info("Fine-tuning from %s", path)
    if before and run:
        _warn_of_another_preprocessing(before, run)
    variables = model.variables_to_restore(None)
    excluded = names_in_scopes(
        list(variables),
        flags.scopes(config.checkpoint_exclude_scopes),
        "--checkpoint_exclude_scopes",
    )
    head = [name for name in model.head_names(variables, config) if name not in excluded]
    why = _why_new({name: variables[name] for name in head}, path, before, run)
    if why:
        logging.info("The head %s is new: %s", ", ".join(model.head_scopes(config)), why)
        excluded |= set(head)
    wanted = {name: variable for name, variable in variables.items() if name not in excluded}
    missing = checkpoints.check_fits(path, wanted, config) if wanted else []
    if missing and not config.ignore_missing_vars:
        raise FlagError(
            f"the checkpoint lacks {len(missing)} variables, such as {missing[0]}",
            where=path,
            remedy="pass --ignore_missing_vars, or exclude their scopes",
        )
    restored = {name: variable for name, variable in wanted.items() if name not in missing}
    logging.info("Restored %d of %d model variables", len(restored), len(variables))
    for name in sorted(excluded | set(missing)):
        logging.info("Not restored: %s", name)
    initialize = tf.global_variables_initializer()
    restore = checkpoints.restorer(restored) if restored else None

    def start(session: tf.Session) -> None:
        session.run(initialize)
        if restore:
            restore(session, path)

    return start


def _warn_of_another_preprocessing(before: Run, run: Run) -> None:
    names = before.preprocessing_name, run.preprocessing_name
    if PREPROCESSING[names[0]] != PREPROCESSING[names[1]]:
        logging.warning(
            "the checkpoint was trained on pictures of the preprocessing %s, this run prepares "
            "them by %s",
            *names,
        )


def _why_new(
    head: dict[str, tf.Variable], path: str, before: Run | None, run: Run | None
) -> str | None:
    """Why a head cannot be that of a checkpoint; None if it can.

    Args:
        head: its variables by name, the logits' last.
        path: the checkpoint.
        before: the run that it is of; None if unknown: then the sizes alone are compared.
        run: this run.
    """
    shapes = checkpoints.shapes_of(path)
    here = {name: variable.shape.as_list() for name, variable in head.items()}
    if not here.keys() & shapes.keys():
        return "the checkpoint has none of this name" if here else None
    wrong = [name for name in here if shapes.get(name, here[name]) != here[name]]
    if wrong:
        classes = [sizes[wrong[-1]][-1] for sizes in (shapes, here)]
        if classes[0] != classes[1]:
            return f"the checkpoint has {classes[0]} classes, this run {classes[1]}"
        return f"{wrong[0]} is {shapes[wrong[0]]} in the checkpoint, {here[wrong[0]]} in this run"
    if before and run and _outputs(before) != _outputs(run):
        return f"the checkpoint's classes are {_shown(before)}, those of this run {_shown(run)}"
    return None


def _outputs(run: Run) -> tuple[str, ...]:
    """The classes that the net's outputs stand for."""
    return run.class_names[run.labels_offset :]


def _shown(run: Run) -> str:
    names = _outputs(run)
    return ", ".join([*names[:_NAMES_SHOWN], *["..."][: len(names) > _NAMES_SHOWN]])
