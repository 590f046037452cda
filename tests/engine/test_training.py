"""The training loop: exact resume, cadence of saves and log lines, and how runs end."""

import contextlib
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from core import files
from core.errors import DataError, DivergedError, ExitCode, FlagError, LockedError
from engine import checkpoints, sessions

ROOT = Path(__file__).resolve().parents[2]
LOG_LINE = r"global step (\d+): loss = ([\d.]+) \([\d.]+ sec/step\) [\d.]+ images/sec"


@pytest.fixture
def log(caplog):
    """What is logged, as lines."""
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: caplog.messages


def content(directory):
    """Every file of a directory with size and time of change."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize(
    "net", ["cifarnet", pytest.param("mobilenet_v1_025", marks=pytest.mark.slow)]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    make_dataset, finished_run, train, flags_of, digest, tmp_path, net
):
    straight, flags = finished_run(net), flags_of(net)
    # Neither the cadence of saves and summaries nor threads that decode have a part in it.
    train(make_dataset(), tmp_path, "--max_number_of_steps=4", *flags)
    train(
        make_dataset(),
        tmp_path,
        "--max_number_of_steps=7",
        "--num_preprocessing_threads=2",
        "--log_every_n_steps=1",
        *flags,
    )
    assert checkpoints.steps(tmp_path) == [0, 4, 7]
    for step in (0, 4, 7):  # 0 and 4: two fresh runs with the same seed
        ours, theirs = (checkpoints.prefix(d, step) for d in (tmp_path, straight))
        assert digest(ours) == digest(theirs), f"step {step}"
    assert digest(checkpoints.prefix(straight, 4)) != digest(checkpoints.prefix(straight, 7))


@pytest.fixture
def assert_resumes(make_dataset, train, digest, tmp_path):
    """assert_resumes(flags, steps) compares a run to the last step with one that stops at each."""

    def assert_resumes(flags, steps):
        last = steps[-1]
        train(make_dataset(), tmp_path / "straight", f"--max_number_of_steps={last}", *flags)
        for step in steps:
            train(make_dataset(), tmp_path / "resumed", f"--max_number_of_steps={step}", *flags)
        straight, resumed = (
            digest(tmp_path / run / f"model.ckpt-{last}") for run in ("straight", "resumed")
        )
        assert straight == resumed
        assert straight != digest(tmp_path / "resumed" / f"model.ckpt-{steps[-2]}")

    return assert_resumes


@pytest.mark.parametrize(
    "optimizer",
    [
        *("adam", "rmsprop"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("adadelta", "adagrad", "ftrl", "momentum", "sgd")
        ),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one_with_every_optimizer(assert_resumes, optimizer):
    """CifarNet has dropout, and its preprocessing crops, flips and recolours."""
    flags = ("--model_name=cifarnet", f"--optimizer={optimizer}", "--learning_rate=0.001")
    assert_resumes(flags, [2, 3, 5])


@pytest.mark.parametrize(
    ("net", "schedule", "precision"),
    [
        (("cifarnet",), "one_cycle", "off"),
        pytest.param(("cifarnet",), "cosine", "off", marks=pytest.mark.slow),
        # Image sizes change at steps 2 and 4.
        pytest.param(
            ("mobilenet_v1_025", "--stem_stride=1", "--image_size_schedule=8:0.8,12:1.6"),
            *("one_cycle", "bfloat16"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one_with_all_that_short_runs_use(
    assert_resumes, net, schedule, precision
):
    """Pictures are mixed and cut, and the rate moves."""
    name, *further = net
    flags = (
        *(f"--model_name={name}", *further, "--preprocessing_name=pad_crop"),
        *("--train_image_size=16", "--mixup_alpha=0.5", f"--mixed_precision={precision}"),
        *("--cutmix_alpha=0.5", "--rotation_degrees=20", "--erasing_probability=0.5"),
        *("--cutout_fraction=0.25", "--optimizer=momentum", "--use_nesterov"),
        *("--decoupled_weight_decay=0.1", "--learning_rate=0.01", "--moving_average_decay=0.9"),
        *(f"--learning_rate_decay_type={schedule}", "--warmup_epochs=0.8"),
        *("--num_epochs_per_decay=2.4", "--label_smoothing=0.1", "--dropout_keep_prob=0.5"),
    )
    assert_resumes(flags, [1, 3, 6])


@pytest.mark.parametrize("net", ["lenet", "cifarnet", "vgg_16"])
def test_a_net_that_takes_one_size_of_pictures(make_dataset, train, tmp_path, net):
    sizes = ("--train_image_size=32", "--image_size_schedule=8:0.8")
    with pytest.raises(FlagError, match=f"{net} takes pictures of one size, not those of --image_"):
        train(make_dataset(), tmp_path / "run", f"--model_name={net}", *sizes)
    assert not list((tmp_path / "run").glob("model.ckpt-*"))


def test_a_resumed_run_is_the_uninterrupted_one_with_all_of_fine_tuning(
    assert_resumes, finished_run
):
    """Stopped between two updates of the head alone, where that ends, and between two of more."""
    flags = (
        *("--model_name=cifarnet", f"--checkpoint_path={finished_run('cifarnet')}"),
        *("--head_units=16", "--head_dropout=0.3", "--head_only_steps=4", "--accumulate_steps=2"),
        *("--unfreeze_last_n_layers=2", "--layer_decay=0.7", "--finetune_learning_rate=0.001"),
        *("--learning_rate_decay_type=cosine", "--num_epochs_per_decay=2", "--optimizer=adam"),
        *("--moving_average_decay=0.9", "--decoupled_weight_decay=0.1", "--clip_gradient_norm=1"),
    )
    assert_resumes(flags, [3, 4, 5, 7])


def test_accumulated_steps_are_those_of_a_larger_batch(make_dataset, train, variables_of, tmp_path):
    """Four batches of 4 are one of 16, over the ends of epochs of 20, for LeNet without dropout."""
    flags = (
        *("--dropout_keep_prob=1", "--optimizer=momentum", "--learning_rate=0.01"),
        *("--weight_decay=0.01", "--decoupled_weight_decay=0.1", "--clip_gradient_norm=2"),
    )
    found = {}
    for batch, steps, accumulate in ((16, 3, 1), (4, 12, 4), (4, 12, 1)):
        directory = tmp_path / f"{batch}_{accumulate}"
        sizes = (f"--batch_size={batch}", f"--max_number_of_steps={steps}")
        accumulated = f"--accumulate_steps={accumulate}"
        train(make_dataset(train=20), directory, *flags, *sizes, accumulated)
        found[batch, accumulate] = variables_of(directory / f"model.ckpt-{steps}")
    start = variables_of(tmp_path / "4_4" / "model.ckpt-0")
    for name, expected in found[16, 1].items():
        if name.startswith("LeNet/"):
            moved = np.abs(expected - start[name]).max()
            np.testing.assert_allclose(found[4, 4][name], expected, rtol=0, atol=1e-4 * moved)
            assert np.abs(found[4, 1][name] - expected).max() > 1e-2 * moved


def test_a_run_goes_on_from_the_newest_intact_checkpoint(
    make_dataset, copied_run, finished_run, train, flags_of, digest
):
    run = copied_run("cifarnet")
    (run / "model.ckpt-7.meta").write_bytes(b"")
    (run / "checkpoint").write_bytes(b"\xff\x00 garbage")
    flags = ["--max_number_of_steps=7", *flags_of("cifarnet")]
    train(make_dataset(), run, *flags)
    assert checkpoints.steps(run) == [0, 4, 7]
    assert digest(run / "model.ckpt-7") == digest(finished_run("cifarnet") / "model.ckpt-7")
    assert (run / "corrupt" / "model.ckpt-7.meta").read_bytes() == b""


def test_a_step_moves_all_averages(finished_run, variables_of):
    run = finished_run("mobilenet_v1_025")
    before, after = (variables_of(checkpoints.prefix(run, step)) for step in (0, 7))
    moving = [name for name in before if name.endswith(("/moving_mean", "/moving_variance"))]
    assert len(moving) == 2 * 27  # 27 layers: 1 + 13 * 2
    averages = [f"{name}/ExponentialMovingAverage" for name in moving]
    for name in [*moving, *averages]:
        assert not np.array_equal(before[name], after[name]), name


def test_another_seed_is_another_run(make_dataset, finished_run, train, variables_of, tmp_path):
    train(make_dataset(), tmp_path, "--max_number_of_steps=1", "--seed=1", "--optimizer=sgd")
    ours, theirs = (
        variables_of(checkpoints.prefix(directory, 0))["LeNet/conv1/weights"]
        for directory in (tmp_path, finished_run("lenet"))
    )
    assert not np.array_equal(ours, theirs)


def test_saves_by_steps(finished_run):
    assert checkpoints.steps(finished_run("lenet")) == [0, 4, 7]


def test_saves_by_seconds_and_keeps_the_newest(make_dataset, train, tmp_path):
    train(
        make_dataset(),
        tmp_path,
        *("--max_number_of_steps=4", "--save_interval_secs=0", "--keep_checkpoint_max=3"),
    )
    assert checkpoints.steps(tmp_path) == [2, 3, 4]


def test_log_lines_and_a_falling_loss(make_dataset, train, log, tmp_path):
    train(
        make_dataset(),
        tmp_path,
        *("--max_number_of_steps=31", "--log_every_n_steps=2"),
        *("--optimizer=adam", "--learning_rate=0.001"),
    )
    lines = [match for line in log() if (match := re.fullmatch(LOG_LINE, line))]
    assert [int(match[1]) for match in lines] == list(range(2, 31, 2))
    losses = [float(match[2]) for match in lines]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert "Finished training! Saving model to disk." in log()


def test_at_its_limit_there_is_nothing_to_do(make_dataset, copied_run, train, log):
    directory = copied_run("lenet")
    before = content(directory)
    train(make_dataset(), directory, "--max_number_of_steps=7", "--optimizer=sgd")
    train(make_dataset(), directory, "--max_number_of_steps=5", "--optimizer=sgd")
    assert [line.split(":")[0] for line in log()] == ["Nothing to do"] * 2
    assert content(directory) == before


def test_what_a_crash_left_at_the_limit_is_cleared_away(make_dataset, copied_run, train, digest):
    directory = copied_run("lenet")
    state = (directory / "checkpoint").read_text()
    last = digest(directory / "model.ckpt-7")
    for leave in (
        lambda: (directory / ".tmp-1-ab-checkpoint").write_text("half"),
        lambda: (directory / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-4"\n'),
        lambda: (directory / "model.ckpt-3.meta").write_bytes(b"of a deletion"),
    ):
        leave()
        train(make_dataset(), directory, "--max_number_of_steps=7", "--optimizer=sgd")
        assert not files.unfinished(directory)
        assert (directory / "checkpoint").read_text() == state
        assert not list(directory.glob("model.ckpt-3.*"))
        assert digest(directory / "model.ckpt-7") == last
    train(
        make_dataset(),
        directory,
        *("--max_number_of_steps=7", "--optimizer=sgd", "--keep_checkpoint_max=1"),
    )
    assert checkpoints.steps(directory) == [7]


def test_a_master_that_is_no_server(make_dataset, train, tmp_path):
    with pytest.raises(FlagError, match="--master=here: No session factory") as error:
        train(make_dataset(), tmp_path, "--max_number_of_steps=1", "--master=here")
    assert error.value.exit_code == ExitCode.FLAGS


@pytest.mark.parametrize("rate", ["1e30", "1e308"])  # to NaN, and to infinity
@pytest.mark.parametrize(
    "cadence", ["--save_interval_steps=1", "--save_interval_steps=100", "--save_summaries_steps=1"]
)
def test_divergence_leaves_a_finite_checkpoint(
    make_dataset, train, variables_of, tmp_path, cadence, rate
):
    bad = r"LeNet/\w+/\w+ is not finite (at step \d+ )?\(.* is the last good checkpoint"
    with pytest.raises(DivergedError, match=bad) as error:
        train(
            make_dataset(),
            tmp_path,
            *("--max_number_of_steps=20", "--optimizer=sgd", f"--learning_rate={rate}", cadence),
        )
    assert error.value.exit_code == ExitCode.DIVERGED
    newest = checkpoints.resolve(str(tmp_path))
    assert f"({newest} is the last good checkpoint)" in str(error.value)
    assert all(np.isfinite(value).all() for value in variables_of(newest).values())


def test_one_trainer_per_directory(make_dataset, train, tmp_path):
    with files.locked(tmp_path), pytest.raises(LockedError, match="in use by process") as error:
        train(make_dataset(), tmp_path, "--max_number_of_steps=1")
    assert error.value.exit_code == ExitCode.LOCKED
    assert not checkpoints.steps(tmp_path)


def test_a_damaged_record_ends_the_run_with_its_name(make_dataset, train, tmp_path):
    data = make_dataset(copy="training")
    path = data / "shades_train.tfrecord"
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"shades_train\.tfrecord: record 0"):
        train(data, tmp_path, "--max_number_of_steps=5")


def test_only_trainable_scopes_are_trained(make_dataset, train, variables_of, tmp_path):
    train(
        make_dataset(),
        tmp_path,
        *("--max_number_of_steps=3", "--trainable_scopes=LeNet/fc4,LeNet/conv1/"),
    )
    before, after = (variables_of(checkpoints.prefix(tmp_path, step)) for step in (0, 3))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    model = {name for name in changed if re.fullmatch(r"LeNet/\w+/(weights|biases)", name)}
    assert model == {
        *("LeNet/fc4/weights", "LeNet/fc4/biases"),
        *("LeNet/conv1/weights", "LeNet/conv1/biases"),
    }
    assert {name.split("/")[1] for name in changed if "RMSProp" in name} == {"fc4", "conv1"}


def test_unknown_trainable_scope(make_dataset, train, tmp_path):
    with pytest.raises(FlagError, match="no variable in scope LeNet/fc of --trainable_scopes"):
        train(make_dataset(), tmp_path, "--max_number_of_steps=1", "--trainable_scopes=LeNet/fc")
    assert not checkpoints.steps(tmp_path)


HANGING_STEP = """
import sys
from core import progress
from core.compat import tf
from engine import training
with (
    tf.Graph().as_default(),
    tf.Session() as session,
    training._stop_signals(),
    progress.bar("Training", 9),
):
    queue = tf.FIFOQueue(1, tf.float32)
    print("ready", file=sys.__stdout__, flush=True)  # a bar puts its own in the place of stdout
    session.run(queue.dequeue())  # for ever
"""


def test_a_second_signal_stops_within_the_step():
    """The first one is collected; the second ends the process though Python's code hangs in C."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", HANGING_STEP], stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT
    ) as process:
        os.close(theirs)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while piece := os.read(terminal, 10_000):
            shown += piece
    os.close(terminal)
    hide, show = b"\x1b[?25l", b"\x1b[?25h"
    assert hide in shown
    assert shown.rindex(show) > shown.rindex(hide)


def test_session_config(configured):
    proto = sessions.session_config(configured("--inter_op_threads=1", "--intra_op_threads=2"))
    assert (proto.inter_op_parallelism_threads, proto.intra_op_parallelism_threads) == (1, 2)
    assert not proto.device_count
    proto = sessions.session_config(configured("--clone_on_cpu"))
    assert dict(proto.device_count) == {"GPU": 0}
