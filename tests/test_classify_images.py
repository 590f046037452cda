"""The classifying script."""

import csv
import signal
import subprocess
import sys
import time

import pytest

import classify_images

SCRIPT = "classify_images.py"


def classes(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["class"] for row in csv.DictReader(file)}


def test_a_folder_in_a_table_out(colour_run, colour_folder, run_script, tmp_path):
    output = tmp_path / "predictions.csv"
    result = run_script(
        SCRIPT, f"--checkpoint_path={colour_run}", f"--images={colour_folder}", f"--output={output}"
    )
    assert (result.returncode, result.stdout.split(" in ")[0]) == (0, "12 pictures")
    assert str(output) in result.stdout
    assert classes(output) == {
        f"{name}/{n}.png": name for name in ("red", "green", "blue") for n in range(4)
    }


def test_files_that_are_no_pictures_are_told_at_the_end(
    colour_run, colour_folder, run_script, tmp_path
):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes((colour_folder / "blue" / "1.png").read_bytes())
    (folder / "b.png").write_bytes(b"nonsense")
    given = [f"--checkpoint_path={colour_run}", f"--images={folder}"]
    output = tmp_path / "predictions.csv"
    result = run_script(SCRIPT, *given, f"--output={output}")
    assert result.returncode == 3
    assert result.stderr.splitlines()[-1] == (
        "error: 1 of 2 are no readable pictures, the first: b.png: not an image (starts with "
        f"'nonsense') ({output}) - see its column error; --allow_errors takes it for a success"
    )
    assert classes(output) == {"a.png": "blue", "b.png": ""}
    assert run_script(SCRIPT, *given, f"--output={output}", "--allow_errors").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--checkpoint_path and --images are needed - see --help"),
        (["--images={folder}", "--checkpoint_path={folder}/none"], 5, "no such checkpoint"),
        (["--images={folder}/none", "--checkpoint_path={run}"], 2, "no picture there"),
        (["--images={folder}", "--checkpoint_path={folder}"], 5, "no checkpoint in the"),
        (["--images={folder}", "--checkpoint_path={run}", "--top_k=0"], 2, "flag --top_k=0: "),
        (["--image={folder}"], 2, "Unknown command line flag 'image'"),
        (
            ["--images={folder}", "--checkpoint_path={run}", "--output={folder}/red/0.png/x.csv"],
            4,
            "cannot make the directory",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    colour_run, colour_folder, failure, arguments, code, message
):
    given = [argument.format(folder=colour_folder, run=colour_run) for argument in arguments]
    found, line = failure(classify_images, *given)
    assert found == code
    assert line.startswith(message)


def test_a_flag_that_is_not_known_is_told_in_one_line(run_script):
    result = run_script(SCRIPT, "--image=folder")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: Unknown command line flag 'image'")


def test_a_signal_leaves_no_table_and_nothing_half_written(
    colour_run, colour_folder, tmp_path, root
):
    folder = tmp_path / "many"
    folder.mkdir()
    content = (colour_folder / "red" / "0.png").read_bytes()
    for number in range(6_000):
        (folder / f"{number}.png").write_bytes(content)
    command = [sys.executable, str(root / SCRIPT), f"--checkpoint_path={colour_run}"]
    command += [f"--images={folder}", f"--output={tmp_path}/out/predictions.csv", "--batch_size=1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("out/.tmp-*")):  # it has begun to write
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted"
    assert list((tmp_path / "out").iterdir()) == []
