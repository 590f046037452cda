"""The comparing script."""

import csv
import json
from pathlib import Path

import pytest

import compare_models
from core import flags as core_flags
from core.errors import CheckpointError, ClassifierError, FlagError

SCRIPT = "compare_models.py"
FILES = {
    *("comparison.txt", "comparison.json", "comparison.html", "offline.csv", "online.csv"),
    *("offline.png", "online.png", "pareto.png"),
}


def compare(*arguments):
    compare_models.main(core_flags.parse(compare_models.define, arguments))


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def test_two_models_are_compared(colour_run, run_script, tmp_path):
    runs = f"{colour_run},{colour_run}/model.ckpt-0"
    short = ("--repeats=1", "--seconds=0.05")
    result = run_script(SCRIPT, f"--runs={runs}", f"--output_dir={tmp_path}/out", *short)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    text = (tmp_path / "out" / "comparison.txt").read_text(encoding="utf-8")
    assert result.stdout == f"{text}\nwrote 8 files to {tmp_path}/out\n"
    offline, online = rows(tmp_path / "out" / "offline.csv"), rows(tmp_path / "out" / "online.csv")
    names = [colour_run.name, "model.ckpt-0"]
    assert list(offline) == list(online) == names
    learned, begun = offline.values()
    assert float(learned["top_1"]) == 1.0  # the colours are easy
    assert float(begun["top_1"]) < 1.0
    assert learned["training_seconds"]
    assert not begun["training_seconds"]
    assert learned["flops"] == begun["flops"]
    assert all(float(row["latency_ms"]) > 0 for row in online.values())
    content = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert colour_run.name in content["pareto_front"]  # the only one that is right
    assert content["best"]["offline"]["top_1"] == [colour_run.name]
    assert content["settings"]["repeats"] == 1


def test_nets_are_compared_by_cost_alone(capsys, tmp_path):
    nets = ("--random_init=lenet,cifarnet", "--image_size=8", "--num_classes=3", "--repeats=0")
    compare(*nets, f"--output_dir={tmp_path}")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("comparison.txt", "comparison.json", "comparison.html", "offline.csv", "offline.png")
    }
    found = rows(tmp_path / "offline.csv")
    assert list(found) == ["lenet", "cifarnet"]
    assert [row["top_1"] for row in found.values()] == ["", ""]
    assert int(found["lenet"]["parameters"]) == 319_939
    assert "top-1" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], FlagError, "--runs or --random_init is needed - see --help"),
        (["--runs= , "], FlagError, "--runs or --random_init is needed"),
        (["--random_init=lennet"], FlagError, "did you mean lenet?"),
        (["--random_init=lenet,lenet"], FlagError, "--random_init names lenet twice"),
        (["--random_init=lenet", "--batch_size=4"], FlagError, "--batch_size goes with --runs"),
        (["--runs={run}", "--image_size=4"], FlagError, "--image_size goes with --random_init"),
        (["--runs={run},{run}/"], FlagError, "stands there twice"),
        (["--runs={run},{out}/none"], CheckpointError, "no such checkpoint"),
        (["--runs={run}", "--dataset_split_name=dev"], FlagError, "splits here: train,"),
        (["--runs={run}", "--repeats=-1"], FlagError, "repeats"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    colour_run, tmp_path, arguments, kind, message
):
    given = [argument.format(run=colour_run, out=tmp_path) for argument in arguments]
    with pytest.raises(kind) as error:
        compare(*given, f"--output_dir={tmp_path}/out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_directory_is_told_first(colour_run, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ClassifierError, match="cannot make the directory"):
        compare(f"--runs={colour_run}", f"--output_dir={tmp_path}/out")
    assert Path(tmp_path / "out").read_text() == "mine"
