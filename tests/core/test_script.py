import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from core import script
from core.errors import DataError, ExitCode, FlagError, MachineError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "download_and_convert_data.py",
    "train_image_classifier.py",
    "eval_image_classifier.py",
)

# A script that fails, or ends, as its flag says.
ENDINGS = """
    '''Ends as it is told.'''
    import os, signal, sys, time
    from absl import logging
    from core import errors, flags, script

    def define(flag_values):
        group = flags.Group("Ending", flag_values)
        group.string("how", "well", "Python that is run.")

    def main(config):
        logging.info("hello from %s", config.how)
        exec(config.how, globals())

    well = None
    if __name__ == "__main__":
        script.run(main, define, __doc__)
"""

NO_ZERO = "integer division or modulo by zero"
BUG = "this is a bug; --debug shows where"


@pytest.fixture(scope="session")
def end(tmp_path_factory, run_script):
    """end(how, *arguments) runs the script above; end.path is where it stands."""
    path = tmp_path_factory.mktemp("script") / "endings.py"
    path.write_text(textwrap.dedent(ENDINGS))

    def end(how, *arguments, **options):
        return run_script(path, f"--how={how}", *arguments, **options)

    end.path = path
    return end


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (SCRIPTS[0], [], "You must supply the dataset name with --dataset_name"),
        (SCRIPTS[0], ["--dataset_name=x"], "You must supply the dataset directory with --datas"),
        (SCRIPTS[0], ["--dataset_nme=x"], "Unknown command line flag 'dataset_nme'"),
        (SCRIPTS[0], ["--num_shards=0"], "flag --num_shards=0"),
        (SCRIPTS[1], ["--train_dir=x", "stray"], "unexpected argument 'stray'"),
        (SCRIPTS[1], ["--learning_rate=nan"], "flag --learning_rate=nan: not a finite number"),
        (SCRIPTS[1], ["--batch_size=many"], "flag --batch_size=many"),
        (SCRIPTS[2], ["--batch_sise=3"], "Unknown command line flag 'batch_sise'"),
    ],
)
def test_bad_flags_of_the_scripts_are_told_in_one_line(run_script, name, arguments, message):
    done = run_script(name, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1


def test_a_flag_that_is_nearly_right_is_answered_with_the_right_one(run_script):
    done = run_script(SCRIPTS[0], "--dataset_nme=x")
    assert " - did you mean" in done.stderr
    assert "dataset_name" in done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_comes_without_importing_tensorflow(name):
    command = [sys.executable, "-X", "importtime", ROOT / name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "absl.flags" in imported
    assert not imported & {"tensorflow", "tf_slim", "tf_keras", "PIL", "sklearn"}
    assert "--dataset_dir" in done.stdout
    assert "Messages:\n  --[no]debug: Show the traceback of an error." in done.stdout


def test_full_help_ends_well_too(end):
    done = end("well", "--helpfull")
    assert done.returncode == 0
    assert "--verbosity" in done.stdout


@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_help_that_nobody_reads_to_its_end_is_quiet(flag):
    command = [sys.executable, ROOT / SCRIPTS[1], flag]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 141)  # 0: it was written before the pipe was closed


def test_a_script_that_ends_well_has_logged_without_prefix(end):
    done = end("print(3)")
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert done.stderr == "hello from print(3)\n"


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("1 // 0", 1, f"unexpected ZeroDivisionError: {NO_ZERO} - {BUG}"),
        ("raise errors.FlagError('a', remedy='b')", 2, "a - b"),
        ("raise errors.DataError('a\\n  b', where='x:3')", 3, "a b (x:3)"),
        ("open('/none/such')", 4, "No such file or directory (/none/such)"),
        ("raise errors.CheckpointError('a')", 5, "a"),
        ("raise errors.LockedError('a')", 6, "a"),
        ("raise errors.DivergedError('a')", 7, "a"),
        ("raise errors.MissedError('a')", 8, "a"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(end, how, code, line):
    done = end(how)
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == f"error: {line}"
    assert done.stderr.startswith("hello")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["1 // 0", "raise errors.DataError('a')"])
def test_debug_shows_the_traceback_and_then_the_line(end, how):
    done = end(how, "--debug")
    assert done.returncode == end(how).returncode
    assert "Traceback (most recent call last)" in done.stderr
    assert 'File "<string>", line 1' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_debug_shows_the_traceback_of_a_bad_flag(end):
    done = end("well", "--debug", "--nosuch")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr


def test_a_run_that_a_signal_ended_after_saving_is_no_error(end):
    done = end("raise errors.Stopped(signal.SIGTERM, 'saved at step 7')")
    assert done.returncode == ExitCode.TERMINATED
    assert done.stderr.splitlines()[-1] == "saved at step 7"


def stopped(end, how, number):
    """Sends a signal when `how` has printed "ready"; gives exit code, further output and errors."""
    with subprocess.Popen(
        [sys.executable, end.path, f"--how={how}", "--verbosity=-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        told, errors = process.communicate(timeout=60)
    return process.returncode, told, errors


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, b"interrupted", 130), (signal.SIGTERM, b"terminated", 143)],
    ids=["SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize("made_of_it", ["raise", "raise ImportError"])
def test_a_signal_unwinds_and_is_told_in_one_word(end, number, word, code, made_of_it):
    how = (
        "try:\n  print('ready', flush=True)\n  time.sleep(100)\n"
        f"except KeyboardInterrupt:\n  print('cleared', flush=True); {made_of_it}"
    )
    assert stopped(end, how, number) == (code, b"cleared\n", word + b"\n")


def test_a_signal_is_not_lost_where_a_library_swallows_every_exception(end):
    how = (
        "class Careless:\n  def __del__(self):\n    time.sleep(100)\n"
        "try:\n  print('ready', flush=True)\n  time.sleep(100)\nexcept:\n  pass\n"
        "Careless()\n"
        "try:\n  time.sleep(100)\nfinally:\n  time.sleep(1)\n  print('cleared', flush=True)"
    )
    assert stopped(end, how, signal.SIGTERM) == (143, b"cleared\n", b"terminated\n")


@pytest.mark.parametrize("how", ["[print('x' * 100) for _ in range(10_000)]", "print('x')"])
def test_output_that_nobody_reads_is_quiet(end, how):
    # The shorter one fails only when it is flushed at the end.
    command = [sys.executable, end.path, f"--how=sys.stdin.read(); {how}", "--verbosity=-1"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    ) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_output_onto_a_full_disk_is_an_error(end):
    with open("/dev/full", "w") as full:
        done = end("print(3)", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4
    last = done.stderr.splitlines()[-1]
    assert last == "error: No space left on device - free some space"


@pytest.mark.parametrize(
    ("error", "what", "where", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space", "/a/b"), "No space", "/a/b", "free some space"),
        (OSError(errno.EDQUOT, "Quota"), "Quota", "", "free some space"),
        (OSError(errno.EFBIG, "Too large"), "Too large", "", "free some space"),
        (PermissionError(errno.EACCES, "Denied", b"/\xff"), "Denied", "/\udcff", ""),
        (FileNotFoundError(errno.ENOENT, "None", "/a"), "None", "/a", ""),
        (TimeoutError("timed out"), "timed out", "", ""),
        (MemoryError(), "out of memory", "", "try a smaller --batch_size"),
    ],
)
def test_errors_of_the_operating_system_are_the_machines(error, what, where, remedy):
    known = script.classified(error)
    assert type(known) is MachineError
    assert (known.what, known.where, known.remedy) == (what, where, remedy)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), AssertionError("x")])
def test_what_can_only_be_a_bug_is_not_explained_away(error):
    assert script.classified(error) is None


def test_our_own_errors_stay_as_they_are():
    error = FlagError("x")
    assert script.classified(error) is error


@pytest.mark.parametrize(
    ("name", "message", "kind", "what"),
    [
        ("ResourceExhaustedError", "a; No space left on device", MachineError, "disk full"),
        ("UnknownError", "a; File too large", MachineError, "disk full"),
        ("ResourceExhaustedError", "OOM when", MachineError, "out of memory: OOM when"),
        ("PermissionDeniedError", "a; Denied", MachineError, "a; Denied"),
        ("DataLossError", "corrupted record at 12", DataError, "corrupted record at 12"),
    ],
)
def test_errors_of_tensorflow_are_told_by_their_names(name, message, kind, what):
    from core.compat import tf

    known = script.classified(getattr(tf.errors, name)(None, None, message))
    assert type(known) is kind
    assert known.what == what


@pytest.mark.parametrize("name", ["InvalidArgumentError", "OutOfRangeError", "InternalError"])
def test_other_errors_of_tensorflow_are_bugs(name):
    from core.compat import tf

    assert script.classified(getattr(tf.errors, name)(None, None, "x")) is None
