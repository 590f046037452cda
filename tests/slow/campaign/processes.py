"""The scripts of the project as processes: forks of one that has TensorFlow, or new ones."""

import contextlib
import os
import re
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tests.slow.campaign.trials import ROOT, Failed, Trial

CONVERT = "download_and_convert_data.py"
TRAIN = "train_image_classifier.py"
EVALUATE = "eval_image_classifier.py"
CLASSIFY = "classify_images.py"
COMPARE = "compare_models.py"
EXPORT = "export_inference_graph.py"
SERVE = "serve_image_classifier.py"
TUNE = "tune_image_classifier.py"
IMPORT = "import_keras_weights.py"

COLD_SECONDS = 4.0  # what importing TensorFlow adds to the life of a new process, about
PATIENCE = 240.0  # seconds after which a script hangs

_TRACEBACK = "Traceback (most recent call last)"


class Script:
    """A script that runs, its output going to a file.

    Args:
        trial: whose process it is.
        name: the script.
        arguments: its command line.
        before: called in the new process before the script begins.
        cold: start a new interpreter; default: as the trial says.
    """

    def __init__(
        self,
        trial: Trial,
        name: str,
        *arguments: str | bytes,
        before: Callable[[], object] | None = None,
        cold: bool | None = None,
    ) -> None:
        self._trial, self.name = trial, name
        number = sum(1 for _ in trial.directory.glob("*.out"))
        self._log = trial.directory / f"{number}-{Path(name).stem}.out"
        self._command = [str(ROOT / name), *arguments]
        self.cold = trial.cold if cold is None else cold
        self.pid = self._start_cold(before) if self.cold else self._fork(before)
        self._descriptor = os.pidfd_open(self.pid)
        self.code: int | None = None

    def _start_cold(self, before: Callable[[], object] | None) -> int:
        with self._log.open("wb") as log:
            # Not kept: it is waited for by its number, as the forks are.
            process = subprocess.Popen(
                [sys.executable, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._trial.directory,
                preexec_fn=before,
            )
        process.returncode = 0
        return process.pid

    def _fork(self, before: Callable[[], object] | None) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            for number, path in enumerate((os.devnull, self._log, self._log)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), number)
            os.chdir(self._trial.directory)
            sys.argv = [os.fsdecode(argument) for argument in self._command]
            if before:
                before()
            runpy.run_path(self._command[0], run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        except KeyboardInterrupt:  # as the interpreter itself ends when nobody handles it
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if self.code is None and poll.poll(1000 * within):
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
            os.close(self._descriptor)
        return self.code is not None

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.code is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> bool:
        """Kills it; False if it had ended by itself."""
        self.signal(signal.SIGKILL)
        return self.finish({-signal.SIGKILL, 0}) == -signal.SIGKILL

    def finish(self, codes: Collection[int], patience: float = PATIENCE) -> int:
        """Waits for its end, and judges its exit code and output; returns the code.

        Raises:
            Failed: it hangs, or ended otherwise than it should.
        """
        if not self.ended(patience):
            self.signal(signal.SIGABRT)
            self.ended(10)
            raise Failed("hang", f"{self.name} did not end within {patience:.0f} s")
        output = self.output()
        self._trial.expect(_TRACEBACK not in output, "traceback", f"{self.name}: {_tail(output)}")
        if self.code not in codes:
            expected = ", ".join(map(str, sorted(codes)))
            what = f"{self.name} ended with {self.code}, not {expected}: {_tail(output)}"
            raise Failed("exit code", what)
        if 2 <= self.code <= 8:
            told = re.findall("^error: .*", output, re.MULTILINE)
            what = f"{self.name} ended with {self.code} and {len(told)} lines of error"
            self._trial.expect(len(told) == 1, "exit code", what)
        self._trial.checked["scripts"] += 1
        return self.code

    def wait_until(self, seen: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Waits for something; False if the script ends before."""
        deadline = time.monotonic() + patience
        while not seen():
            if self.ended(0.002):
                return False
            if time.monotonic() > deadline:
                self.finish({0}, 0)
        return True

    def listens(self) -> bool:
        """Whether it handles SIGTERM by now."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)
        return False


def run(trial: Trial, name: str, *arguments: str, codes: Collection[int] = (0,)) -> Script:
    """Runs a script to its end."""
    script = Script(trial, name, *arguments)
    script.finish(codes)
    return script


def seconds(
    trial: Trial, subject: str, name: str, flags: Callable[[Path], list[str]], times: int = 3
) -> float:
    """How long a script takes in a fork, if nothing delays it; measured once.

    Args:
        trial: whose scripts are measured, if no trial has done so.
        subject: tells apart what one script does.
        name: the script.
        flags: its command line, by the directory to write to.
        times: that it is run; the quickest counts.
    """

    def make(directory: Path) -> None:
        took = []
        for number in range(times):
            place = trial.directory / f"timed{number}"
            place.mkdir()
            command = flags(place)
            started = time.monotonic()
            Script(trial, name, *command, cold=False).finish({0})
            took.append(time.monotonic() - started)
        (directory / "seconds").write_text(str(min(took)))

    return float((trial.once(f"seconds_of_{subject}", make) / "seconds").read_text())


def kill_at_random(
    trial: Trial, life: float, begin: Callable[[], Script], again: bool = True
) -> None:
    """Kills a script at a random moment of its life.

    Args:
        trial: whose random numbers decide.
        life: seconds it takes in a fork.
        begin: starts it.
        again: start it once more, if it was quicker than the kill.
    """
    while True:
        script = begin()
        script.ended(trial.random.uniform(0, life + COLD_SECONDS * script.cold))
        killed = script.kill()
        trial.checked["kills"] += killed
        if killed or not again:
            return


def _tail(output: str) -> str:
    """The line that tells best how a script ended."""
    lines = output.strip().splitlines() or ["no output"]
    told = [line for line in lines if line.startswith(("error: ", "Fatal Python error"))]
    return [*lines[-1:], *told][-1][:300]
