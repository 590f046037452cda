"""A trial as a process and a directory."""

import os

import pytest

from engine.tuning import trials

HEADER = (
    "step,epoch,learning_rate,training_loss,training_accuracy,validation_loss,"
    "validation_accuracy,validation_balanced_accuracy,validation_f1_macro,validation_mcc"
)


def test_the_history_of_a_run(tmp_path):
    assert trials.history(tmp_path, "accuracy") == []
    rows = ["5,1,0.1,2.0,0.25,1.5,0.5,0.5,0.5,", "10,2,0.1,1.0,0.5,,,,,", "15,3,0.1,1,1,1,0.75,,,0"]
    (tmp_path / "history.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    assert trials.history(tmp_path, "accuracy") == [(5, "1", 0.5), (15, "3", 0.75)]
    assert trials.history(tmp_path, "loss") == [(5, "1", 1.5), (15, "3", 1.0)]
    assert trials.history(tmp_path, "mcc") == [(15, "3", 0.0)]


def test_the_flagfile_of_a_trial_is_written_once(tmp_path):
    directory = trials.directory_of(tmp_path, 7)
    assert directory == tmp_path / "trial_0007"
    trials.prepare(directory, {"momentum": "0.5"}, {"learning_rate": 0.125, "optimizer": "sgd"}, 1)
    text = (directory / "trial.flags").read_text(encoding="utf-8")
    assert text.splitlines() == [
        *("--keep_checkpoint_max=1", "--momentum=0.5", "--learning_rate=0.125"),
        "--optimizer=sgd",
    ]
    trials.prepare(directory, {}, {}, 2)
    assert (directory / "trial.flags").read_text(encoding="utf-8") == text


def test_trials_share_the_cores_unless_told(tmp_path):
    cores = len(os.sched_getaffinity(0))
    trials.prepare(tmp_path / "a", {"intra_op_threads": "3", "keep_checkpoint_max": "2"}, {}, cores)
    text = (tmp_path / "a" / "trial.flags").read_text(encoding="utf-8")
    assert set(text.splitlines()) == {
        *("--intra_op_threads=3", "--keep_checkpoint_max=2"),
        *(["--inter_op_threads=1"] if cores > 1 else []),
    }


@pytest.mark.parametrize("best", [True, False])
def test_what_is_left_of_a_trial(tmp_path, best):
    (tmp_path / "best").mkdir()
    kept = {"history.csv", "run.json", "best/model.ckpt-5.index"}
    gone = {"model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001", "checkpoint"}
    for name in kept | gone:
        (tmp_path / name).touch()
    for _ in range(2):
        trials.tidy(tmp_path, best=best)
        left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
        assert left == (kept if best else kept - {"best/model.ckpt-5.index"})


def test_the_last_words_of_a_training(tmp_path):
    for flag, words in (
        ("--batch_size=0", "flag --batch_size=0: 0 is not a positive integer - see --help"),
        ("--model_nam=x", "Unknown command line flag 'model_nam' - did you mean --model_name?"),
    ):
        (tmp_path / "trial.flags").write_text(flag, encoding="utf-8")
        training = trials.Training(tmp_path)
        training.wait()
        assert training.exit_code == 2
        assert training.last_words() == words
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("error: ") == 2
