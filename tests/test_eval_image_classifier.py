"""The evaluation script as a process, on a run of the training script."""

import json

import pytest

TRAIN, EVAL = "train_image_classifier.py", "eval_image_classifier.py"


@pytest.fixture(scope="module")
def run(tiny_dataset, run_script, tmp_path_factory):
    """A run of LeNet that has learned the three colours."""
    directory = tmp_path_factory.mktemp("run")
    result = run_script(
        TRAIN,
        *(f"--train_dir={directory}", f"--dataset_dir={tiny_dataset}", "--dataset_name=tiny"),
        *("--model_name=lenet", "--train_image_size=8", "--batch_size=8"),
        *("--max_number_of_steps=60", "--optimizer=adam", "--learning_rate=0.001"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "global step 60: loss = " in result.stderr
    assert result.stderr.splitlines()[-1] == "Finished training! Saving model to disk."
    return directory


def test_only_the_run_has_to_be_named(run, run_script):
    result = run_script(EVAL, f"--checkpoint_path={run}", "--min_accuracy=0.9")
    assert result.returncode == 0, result.stderr
    found = json.loads((run / "eval" / "results.json").read_text())
    assert (found["global_step"], found["images"], found["split"]) == (60, 12, "test")
    assert found["accuracy"] >= 0.9
    lines = result.stdout.splitlines()
    assert lines[0].startswith("step 60: 12 images in ")
    assert lines[1] == f"eval/Accuracy[{found['accuracy']:.4f}]"
    assert lines[2] == "eval/Recall_5[1.0000]"
    assert lines[5].split()[:2] == ["top_1", f"{found['accuracy']:.4f}"]
    assert [line.split()[0] for line in lines[-3:]] == ["red", "green", "blue"]
    assert "Evaluating" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_is_told_in_one_line(run_script):
    result = run_script(EVAL, "--quantize")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "error: --quantize is not built - leave it out\n"
