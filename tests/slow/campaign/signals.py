"""SIGTERM and SIGINT at random moments: the step just finished is saved, and nothing is lost."""

import signal

from core import files
from engine import checkpoints
from tests.slow.campaign import conversion, training
from tests.slow.campaign.processes import CONVERT, TRAIN, Script, run
from tests.slow.campaign.trials import Row, Trial

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def stopped(trial: Trial) -> None:
    """Of five trials one is a conversion, and one a training that gets a second signal."""
    number = NUMBERS[trial.number % 2]
    kind = (trial.number // 10 + trial.number) % 5
    if kind == 0:
        _conversion_stopped(trial, number)
    else:
        _training_stopped(trial, number, twice=kind == 1)


def _begin(trial: Trial, name: str, arguments: list[str]) -> Script:
    """Starts a script; before it handles signals, the interpreter dies of them as of any."""
    script = Script(trial, name, *arguments)
    script.wait_until(script.listens)
    return script


def _training_stopped(trial: Trial, number: int, twice: bool) -> None:
    directory = trial.directory / "run"
    expected = training.reference(trial, training.SMALL)
    watched = training.Watched(trial, expected, directory)
    command = training.flags(trial, training.SMALL, directory)
    script = _begin(trial, TRAIN, command)
    training.wait_for_a_moment(trial, script, expected)
    script.signal(number)
    codes = {0, 128 + number}
    if twice:
        script.ended(trial.random.uniform(0, 0.3))
        second = trial.random.choice(NUMBERS)
        script.signal(second)
        codes |= {128 + second, -second}
    code = script.finish(codes, 60)
    watched.check(script)
    steps = training.logged(script)
    if not twice and code and steps:
        newest = max(checkpoints.steps(directory), default=None)
        what = f"step {steps[-1]} was logged, {newest} is saved"
        trial.expect(newest == steps[-1], "lost", what)
    trial.checked[f"ended with {code}"] += 1
    watched.check(run(trial, TRAIN, *command))
    watched.check_end()


def _conversion_stopped(trial: Trial, number: int) -> None:
    older = trial.random.random() < 0.5
    directory = conversion.prepare(trial, older)
    life = conversion.seconds_of_conversion(trial)
    script = _begin(trial, CONVERT, conversion.new_flags(trial, directory))
    script.ended(trial.random.uniform(0, life))
    script.signal(number)
    code = script.finish({0, 128 + number}, 60)
    left = [path.name for path in files.unfinished(directory)]
    trial.expect(not left, "left-overs", f"after the signal: {', '.join(left)}")
    trial.checked[f"ended with {code}"] += 1
    conversion.check_undivided(trial, directory, older)
    conversion.check_again(trial, directory)


ROWS = (Row("signals", stopped, 100),)
