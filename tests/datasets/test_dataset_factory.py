import pytest

from core.errors import FlagError
from datasets.dataset_factory import DATASETS, Known


def test_the_datasets_that_bring_their_own_pictures():
    assert [name for name in DATASETS if DATASETS[name].downloads] == [
        "cifar10",
        "mnist",
        "phase_diagrams",
    ]


def test_an_unknown_name_has_the_message_of_research_slim():
    with pytest.raises(FlagError, match=r"^Name of dataset unknown cifar - did you mean cifar10\?"):
        DATASETS["cifar"]


@pytest.mark.parametrize(
    ("name", "file", "matches"),
    [
        ("cifar10", "cifar10_train.tfrecord", True),
        ("cifar10", "cifar10_train_00000-of-00005.tfrecord", True),
        ("cifar10", "cifar10_test.tfrecord", False),
        ("cifar10", "cifar100_train.tfrecord", False),
        ("cifar10", "cifar10_train.tfrecord.bak", False),
        ("flowers", "flowers_train_00001-of-00005.tfrecord", True),
        ("flowers", "flowers_train-00001-of-00005.tfrecord", False),
        ("imagenet", "train-00000-of-01024", True),
        ("imagenet", "validation-00000-of-00128", False),
        ("visualwakewords", "train.record-00000-of-00100", True),
        ("visualwakewords", "labels.txt", False),
    ],
)
def test_record_files_of_the_training_split(name, file, matches):
    assert DATASETS[name].matches(file, name, "train") is matches


def test_a_name_is_no_pattern():
    assert Known().matches("a[b]*_train.tfrecord", "a[b]*", "train")
    assert not Known().matches("ab_train.tfrecord", "a[b]*", "train")
