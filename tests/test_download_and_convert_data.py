import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import datasets
import download_and_convert_data as script
from core import flags
from core.errors import DataError, FlagError, MachineError

ROOT = Path(__file__).resolve().parent.parent
NAMED = ["--dataset_name=birds", "--dataset_dir=/none"]


def parse(*arguments):
    return flags.parse(script.define_flags, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, png):
    """40 pictures of each of two classes."""
    noise = np.random.RandomState(0)
    for name in ("crow", "gull"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            content = png(noise.randint(0, 256, (16, 12, 3)).astype(np.uint8))
            (tmp_path / "pictures" / name / f"{number}.png").write_bytes(content)
    return tmp_path / "pictures"


@pytest.fixture
def arguments(folder, tmp_path):
    return [
        "--dataset_name=birds",
        f"--dataset_dir={tmp_path / 'data'}",
        f"--image_dir={folder}",
        "--num_shards=2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "^You must supply the dataset name with --dataset_name$"),
        (["--dataset_name=", "--dataset_dir=d"], "^You must supply the dataset name"),
        (["--dataset_name=x"], "^You must supply the dataset directory with --dataset_dir$"),
        (NAMED, r"^dataset_name \[birds\] was not recognized. - for pictures of your own pass"),
        (
            ["--dataset_name=flowers", "--dataset_dir=d"],
            r"^dataset_name \[flowers\] was not recognized. .* cifar10, mnist, phase_diagrams$",
        ),
        (
            ["--dataset_name=cifar10", "--dataset_dir=d", "--image_dir=p"],
            "--image_dir does not go with --dataset_name=cifar10",
        ),
        ([*NAMED, "--archive_sha256=00"], "--archive_sha256 goes with --source_archive"),
        (
            [*NAMED, "--image_dir=p", "--validation_fraction=0.5", "--test_fraction=0.41"],
            "leave too little to train on",
        ),
        (["--dataset_name=mnist", "--dataset_dir=d"], "mnist needs --source_archive"),
        ([*NAMED, "--image_dir=/none/such"], r"no such folder \(/none/such\)"),
        (["--verify"], "^You must supply the dataset directory with --dataset_dir$"),
        (["--verify", "--dataset_dir=/none/such"], r"no such directory \(/none/such\)"),
        (["--verify", *NAMED, "--seed=3", "--overwrite"], "^--overwrite is for converting, --ver"),
    ],
)
def test_flags_that_cannot_be_followed(arguments, message):
    with pytest.raises(FlagError, match=message):
        script.main(parse(*arguments))


def test_fractions_that_leave_a_tenth_to_train_on_are_taken():
    script.check(parse(*NAMED, "--image_dir=p", "--validation_fraction=0.4", "--test_fraction=0.5"))


def test_what_was_written_is_told(arguments, tmp_path, capsys):
    script.main(parse(*arguments))
    lines = capsys.readouterr().out.splitlines()
    train = datasets.load(tmp_path / "data", "birds", "train")
    assert lines[0].startswith(f"train: {train.num_samples} images in 2 files, 0.0 MB")
    assert [line.split(":")[0] for line in lines[:3]] == ["train", "validation", "test"]
    assert sum(int(line.split()[1]) for line in lines[:3]) == 80
    assert lines[3:] == [
        "2 classes: crow, gull",
        f"Finished converting the birds dataset to {tmp_path / 'data'}",
    ]


def test_of_many_classes_the_first_are_named(tmp_path, png, capsys):
    for name in "abcdefghijklm":
        (tmp_path / "p" / name).mkdir(parents=True)
        pixels = np.full((2, 2, 3), ord(name), np.uint8)
        (tmp_path / "p" / name / "a.png").write_bytes(png(pixels))
    shares = ["--validation_fraction=0", "--test_fraction=0"]
    named = ["--dataset_name=x", f"--dataset_dir={tmp_path / 'd'}", f"--image_dir={tmp_path / 'p'}"]
    script.main(parse(*named, *shares, "--num_shards=1"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 13 images in 1 file, 0.0 MB"
    assert lines[1] == "13 classes: a, b, c, d, e, f, g, h, i, j, ..."


def test_a_second_run_says_that_there_is_nothing_to_do(arguments, capsys, caplog):
    script.main(parse(*arguments))
    first = capsys.readouterr().out.splitlines()
    with caplog.at_level("INFO"):
        script.main(parse(*arguments))
    assert "Dataset files already exist. Exiting without re-creating them." in caplog.messages
    assert capsys.readouterr().out.splitlines() == first[:-1]  # not "Finished converting"


def test_other_settings_need_overwrite(arguments, capsys, tmp_path):
    script.main(parse(*arguments))
    with pytest.raises(FlagError, match=r"seed: 0 there, 1 asked for.* - pass --overwrite"):
        script.main(parse(*arguments, "--seed=1"))
    script.main(parse(*arguments, "--seed=1", "--overwrite"))
    assert "Finished converting" in capsys.readouterr().out
    assert datasets.load(tmp_path / "data", "birds", "train").num_samples > 0


def test_pictures_that_are_left_out_are_told(arguments, folder, caplog):
    (folder / "crow" / "bad.png").write_bytes(b"")
    script.main(parse(*arguments, "--on_bad_image=skip", "--max_bad_fraction=0.1"))
    assert any(text.startswith("skipped crow/bad.png: ") for text in caplog.messages)


def test_a_directory_below_a_file_cannot_be_made(arguments, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError, match="cannot make the directory: Not a directory") as caught:
        script.main(parse(*arguments, f"--dataset_dir={tmp_path / 'file' / 'data'}"))
    assert caught.value.exit_code == 4


def test_as_a_process_it_says_what_it_wrote_and_nothing_else(run_script, arguments):
    done = run_script("download_and_convert_data.py", *arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 5


def test_as_a_process_on_a_full_disk_it_fails_in_one_line(run_script, arguments, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    done = run_script("download_and_convert_data.py", *arguments, preexec_fn=limit)
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".lock"]


@pytest.fixture
def damaged(arguments, tmp_path):
    """The directory of a dataset with a flipped bit in the test split and a file too many."""
    script.main(parse(*arguments))
    path = tmp_path / "data" / "birds_test_00000-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[-50] ^= 8
    path.write_bytes(content)
    (path.parent / "old.tfrecord").write_bytes(b"")
    return path.parent


def test_verify_says_that_nothing_is_wrong(arguments, tmp_path, capsys):
    script.main(parse(*arguments))
    written = capsys.readouterr().out.splitlines()
    script.main(parse("--verify", f"--dataset_dir={tmp_path / 'data'}"))
    assert capsys.readouterr().out.splitlines() == [
        *written[:3],
        f"No fault found in the birds dataset in {tmp_path / 'data'}",
    ]


def test_as_a_process_verify_lists_what_is_wrong(run_script, damaged):
    (damaged / "labels.txt").write_text("0:crow\n")
    done = run_script("download_and_convert_data.py", "--verify", f"--dataset_dir={damaged}")
    assert done.returncode == 3
    labels, record = done.stdout.splitlines()
    assert labels == f"not what dataset.json says ({damaged}/labels.txt:2)"
    assert record.startswith("damaged: the content does not agree with its checksum (")
    assert "birds_test_00000-of-00002.tfrecord: record " in record
    warning, error = done.stderr.splitlines()
    assert warning.endswith("old.tfrecord: not part of the dataset, and not read")
    assert error == (
        f"error: 2 faults found, the first: {labels[:-1]}) - convert the dataset again"
    )


def test_one_fault_is_one(damaged, capsys):
    with pytest.raises(DataError, match=r"^1 fault found, the first: damaged: "):
        script.main(parse("--verify", f"--dataset_dir={damaged}"))
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_leaves_the_older_dataset_and_nothing_else(
    arguments, tmp_path, number, word, code
):
    script.main(parse(*arguments))
    directory = tmp_path / "data"
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".lock"}
    generated = ["--dataset_name=phase_diagrams", f"--dataset_dir={directory}", "--overwrite"]
    with subprocess.Popen(
        [sys.executable, ROOT / "download_and_convert_data.py", *generated],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Record files are begun when the first picture is there; the last comes seconds later.
        while not list(directory.glob(".tmp-*/train-*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", f"{word}\n")
    assert process.returncode == code
    left = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".lock"}
    assert left == before


def test_a_signal_before_there_is_any_dataset_leaves_the_lock_file_alone(tmp_path):
    generated = ["--dataset_name=phase_diagrams", f"--dataset_dir={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, ROOT / "download_and_convert_data.py", *generated],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (tmp_path / ".lock").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1] == "terminated\n"
    assert process.returncode == 143
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
