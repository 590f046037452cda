"""The exporting script."""

import pytest

import export_inference_graph

SCRIPT = "export_inference_graph.py"


def test_an_export_is_made_told_and_used(colour_run, colour_folder, run_script, tmp_path):
    output = tmp_path / "exports" / "1"
    given = [f"--checkpoint_path={colour_run}", f"--output_file={output}"]
    result = run_script(SCRIPT, *given)
    assert result.returncode == 0, result.stderr
    exported, difference = result.stdout.splitlines()
    assert exported.startswith(f"exported {colour_run} to {output} (")
    assert difference.startswith("largest difference from the checkpoint: ")
    assert float(difference.split()[5]) < 1e-5
    again = run_script(SCRIPT, *given)
    assert again.returncode == 2
    assert "exists already" in again.stderr.splitlines()[-1]
    used = run_script(
        "classify_images.py",
        *(f"--checkpoint_path={output.parent}", f"--images={colour_folder}"),
        f"--output={tmp_path / 'x.csv'}",
    )
    assert used.returncode == 0, used.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "You must supply the path to save to with --output_file"),
        (["--checkpoint_path={tmp}/none", "--output_file={tmp}/x"], 5, "no such checkpoint"),
        (["--output_file={tmp}/x", "--format=frozen"], 2, "--format goes with"),
        (["--checkpoint_path={run}", "--format=gif"], 2, "flag --format=gif"),
        (["--image_size=10001"], 2, "flag --image_size=10001"),
        (["--checkpoint_path={run}", "--output_file=/proc/x"], 4, "cannot write the"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(colour_run, failure, tmp_path, arguments, code, message):
    given = [argument.format(tmp=tmp_path, run=colour_run) for argument in arguments]
    found, line = failure(export_inference_graph, *given)
    assert found == code
    assert line.startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("format_", "name"), [("frozen", "x.pb"), ("h5", "x.h5")])
def test_a_full_disk_leaves_nothing(
    colour_run, run_script, tmp_path, no_file_beyond, format_, name
):
    given = [f"--checkpoint_path={colour_run}", f"--output_file={tmp_path}/{name}"]
    with no_file_beyond(1000):
        result = run_script(SCRIPT, *given, f"--format={format_}")
    assert result.returncode == 4
    assert "File too large" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
