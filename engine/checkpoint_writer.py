"""Writing the checkpoints of a run: complete or not at all, finite, and only so many kept."""

from pathlib import Path

from absl import logging

from core import files
from core.compat import tf
from core.errors import DivergedError, MachineError
from engine import checkpoints

_STATE_FILE = "checkpoint"


class Writer:
    """Writes the checkpoints of one run, and deletes the oldest.

    Make it when the graph is complete, and hold the directory's lock.

    Args:
        directory: the run directory.
        keep: how many checkpoints to keep; 0 keeps all.
        variables: what they hold; None stands for all variables.

    Raises:
        MachineError: the disk has no room for them.
    """

    def __init__(
        self, directory: Path, keep: int, variables: list[tf.Variable] | None = None
    ) -> None:
        self._directory, self._keep = directory, keep
        variables = tf.global_variables() if variables is None else variables
        self._saver = tf.train.Saver(variables, max_to_keep=0)
        floats = [variable for variable in variables if variable.dtype.base_dtype.is_floating]
        self._names = [variable.op.name for variable in floats]
        self._finite = tf.stack([tf.reduce_all(tf.is_finite(v.read_value())) for v in floats])
        # The same for each checkpoint, and for a large net slow to make.
        self._meta_graph = self._saver.export_meta_graph().SerializeToString()
        self._check_space(variables)

    def save(self, session: tf.Session, step: int) -> None:
        """Writes the checkpoint of a step, unless it exists.

        Raises:
            DivergedError: a variable is not finite; nothing is written.
            MachineError: the disk is full; the checkpoints before are as they were.
        """
        if step in checkpoints.steps(self._directory):
            self._retain()
            return
        bad = self._first_bad(session)
        if bad:
            raise self._diverged(f"{bad} is not finite at step {step}")
        try:
            self._write(session, step)
            self._retain()
        except (tf.errors.OpError, OSError) as error:
            raise MachineError(
                f"cannot write the checkpoint of step {step}: {checkpoints.reason(error)}",
                where=str(self._directory),
                remedy=f"see to the disk; {self._last_good() or 'no step is saved'}",
            ) from None

    def diverged(self, session: tf.Session, what: str) -> DivergedError:
        """The error of a run that cannot go on: what is wrong, the first variable that is not
        finite, and the checkpoint to fall back to.
        """
        bad = self._first_bad(session)
        return self._diverged(f"{what}; {bad} is not finite" if bad else what)

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(what, where=self._last_good(), remedy="lower --learning_rate")

    def _last_good(self) -> str:
        good = checkpoints.steps(self._directory)
        return (
            f"{checkpoints.prefix(self._directory, good[-1])} is the last good checkpoint"
            if good
            else ""
        )

    def _first_bad(self, session: tf.Session) -> str | None:
        """The name of the first variable with a value that is not finite."""
        finite = session.run(self._finite)
        return None if finite.all() else self._names[finite.argmin()]

    def _check_space(self, variables: list[tf.Variable]) -> None:
        """Whether as many checkpoints as are kept, and the one being written, find room."""
        size = len(self._meta_graph) + sum(
            variable.shape.num_elements() * variable.dtype.size for variable in variables
        )
        missing = max(self._keep + 1 - len(checkpoints.steps(self._directory)), 1)
        files.check_space(
            self._directory,
            size * missing,
            f"a run that keeps {self._keep or 'all'} checkpoints",
            remedy="free some space, or lower --keep_checkpoint_max",
        )

    def _write(self, session: tf.Session, step: int) -> None:
        path = Path(checkpoints.prefix(self._directory, step))
        logging.info("Saving checkpoint to path %s", path)
        with files.staging(self._directory) as stage:
            staged = stage / path.name
            self._saver.save(session, str(staged), write_meta_graph=False, write_state=False)
            staged.with_name(f"{path.name}.meta").write_bytes(self._meta_graph)
            sums = "".join(map(files.checksum_line, sorted(stage.iterdir())))
            staged.with_name(path.name + checkpoints.SUMS).write_text(sums, encoding="utf-8")
            # The index last: a checkpoint without it does not exist.
            names = [file.name for file in reversed(checkpoints.files_of(str(staged)))]
            files.commit(stage, names, self._directory)

    def _retain(self) -> None:
        """Deletes the oldest checkpoints, and what an interrupted deletion has left."""
        kept, others = _retention(self._directory, self._keep)
        # First the file `checkpoint`: it then never names what is deleted.
        if _state(kept) != _read_state(self._directory):
            files.write_text(self._directory / _STATE_FILE, _state(kept))
        for step in others:
            for file in checkpoints.files_of(checkpoints.prefix(self._directory, step)):
                file.unlink()


def is_tidy(directory: Path, keep: int) -> bool:
    """Whether no crash has left anything to do to the checkpoints of a run that is at its end."""
    kept, others = _retention(directory, keep)
    return not (others or files.unfinished(directory)) and _state(kept) == _read_state(directory)


def _retention(directory: Path, keep: int) -> tuple[list[int], set[int]]:
    """The steps to keep, and those of which something is to be deleted; keep=0 keeps all."""
    kept = checkpoints.steps(directory)[-keep:]
    there = {checkpoints.step_of(file.stem) for file in directory.glob(f"{checkpoints.NAME}-*.*")}
    return kept, there - {None, *kept}


def _state(kept: list[int]) -> str:
    """The file `checkpoint`, with relative paths, so that a run directory can be moved."""
    names = [f"{checkpoints.NAME}-{step}" for step in kept]
    lines = [f'model_checkpoint_path: "{names[-1]}"'] if names else []
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    return "\n".join(lines) + "\n"


def _read_state(directory: Path) -> str | None:
    path = directory / _STATE_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
