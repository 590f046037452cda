"""The training script as a process: help, one-line errors, signals, exit codes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train_image_classifier
from core import files
from core.flags import parse
from engine import checkpoints
from engine.flags import define_training
from nets.nets_factory import NETS

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "train_image_classifier.py"
# Whether a script that ended has imported TensorFlow.
WATCHED = """
import runpy, sys
script, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
try:
    runpy.run_path(script, run_name="__main__")
finally:
    print("tensorflow imported:", "tensorflow" in sys.modules)
"""


@pytest.fixture(scope="module")
def flags(tiny_dataset):
    """flags(train_dir, "--flag=value", ...): those of a short run of LeNet on 8x8 pixels."""

    def flags(train_dir, *arguments):
        return [
            *(f"--train_dir={train_dir}", f"--dataset_dir={tiny_dataset}", "--dataset_name=tiny"),
            *("--model_name=lenet", "--train_image_size=8", "--batch_size=4"),
            *("--optimizer=sgd", "--learning_rate_decay_type=fixed", *arguments),
        ]

    return flags


def watched(script, flag):
    """A script that is asked for a text; its last line says whether it imported TensorFlow."""
    command = [sys.executable, "-c", WATCHED, ROOT / script, flag]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize("script", [SCRIPT, "eval_image_classifier.py"])
def test_help_needs_no_tensorflow(script):
    result = watched(script, "--help")
    assert f"python {script}" in result.stdout
    for flag in ("--dataset_dir", "--model_name", "--checkpoint_path", "--[no]use_grayscale"):
        assert flag in result.stdout
    assert "tensorflow imported: False" in result.stdout


@pytest.mark.parametrize("script", [SCRIPT, "export_inference_graph.py", "compare_models.py"])
def test_the_nets_are_listed(script):
    heading, *rows, note, tensorflow = watched(script, "--list_models").stdout.splitlines()
    assert heading.startswith("net  ")
    assert [row.split()[0] for row in rows] == list(NETS)
    resnet = "resnet_v1_50 224x224 25,557,032 3,482,255,360 6,964,510,720 vgg"
    assert rows[list(NETS).index("resnet_v1_50")].split() == resnet.split()
    assert "1000 classes" in note
    assert len({row.rindex(" ") for row in rows if row.endswith(" vgg")}) == 1  # columns
    assert tensorflow == "tensorflow imported: False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "You must supply the dataset directory with --dataset_dir"),
        (["--dataset_dir=/nowhere", "--model_name=lenet"], "no such directory (/nowhere) - "),
        (["--batch_size=0"], "flag --batch_size=0: "),
        (["--model_nam=lenet"], "Unknown command line flag 'model_nam'"),
    ],
)
def test_bad_flags_are_told_in_one_line(run_script, arguments, message):
    result = run_script(SCRIPT, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_stops_after_saving(flags, tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, ROOT / SCRIPT, *flags(tmp_path, "--log_every_n_steps=1")],
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line.strip())
        if line.startswith("global step 3:"):
            process.send_signal(number)
    assert process.wait(timeout=60) == code
    steps = [int(match[1]) for line in lines if (match := re.match(r"global step (\d+): ", line))]
    assert steps == list(range(1, steps[-1] + 1))
    assert lines[-1] == f"stopped at step {steps[-1]}, which is saved"
    assert checkpoints.steps(tmp_path) == [0, steps[-1]]
    assert "Traceback" not in "".join(lines)


def test_a_signal_before_the_first_step(flags, tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / SCRIPT, *flags(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "run.json").exists():  # the directory is held, the net is built
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.splitlines()[-1] in ("terminated", "stopped at step 0, which is saved")
    assert "Traceback" not in errors
    assert not files.is_locked(tmp_path / "run")


def test_a_second_trainer_is_told_about_the_first(run_script, flags, tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / SCRIPT, *flags(tmp_path, "--log_every_n_steps=1")],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("global step 1:"):
            break
    second = run_script(SCRIPT, *flags(tmp_path))
    assert second.returncode == 6
    holder = f"error: the directory is in use by process {process.pid} on "
    assert second.stderr.splitlines()[-1].startswith(holder)
    process.kill()
    process.communicate(timeout=60)
    third = flags(tmp_path, "--max_number_of_steps=3")
    train_image_classifier.main(parse(define_training, third))
    assert checkpoints.steps(tmp_path) == [0, 3]


def test_divergence(run_script, flags, tmp_path):
    arguments = ["--learning_rate=1e30", "--max_number_of_steps=20"]
    result = run_script(SCRIPT, *flags(tmp_path, *arguments))
    assert result.returncode == 7
    last = result.stderr.splitlines()[-1]
    what, _, where = last.partition(" (")
    assert re.fullmatch(r"error: .+ at step \d+; LeNet/\w+/\w+ is not finite", what)
    assert "model.ckpt-0 is the last good checkpoint) - " in where
    assert "Traceback" not in result.stderr
    assert checkpoints.steps(tmp_path) == [0]
