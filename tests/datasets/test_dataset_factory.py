import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from datasets.dataset_factory import DATASETS, Known, get_dataset


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


def provided(dataset, count):
    """The first pictures and labels that tf-slim's own provider reads from a dataset."""
    with tf.Graph().as_default(), tf.Session() as session:
        provider = slim.dataset_data_provider.DatasetDataProvider(
            dataset, num_readers=1, shuffle=False
        )
        items = provider.get(["image", "label"])
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        read = [session.run(items) for _ in range(count)]
        coordinator.request_stop()
        coordinator.join(threads)
        return read


def test_a_split_is_read_by_the_data_provider_of_tf_slim(tiny_dataset):
    dataset = get_dataset("tiny", "validation", str(tiny_dataset))
    assert isinstance(dataset, slim.dataset.Dataset)
    assert (dataset.num_samples, dataset.num_classes) == (12, 3)
    assert dataset.labels_to_names == {0: "red", 1: "green", 2: "blue"}
    read = provided(dataset, 12)
    assert sorted(label for _, label in read) == [0] * 4 + [1] * 4 + [2] * 4
    for image, label in read:
        assert (image.shape, image.dtype) == ((16, 12, 3), np.uint8)
        # In the channel of its class a picture is 128 or more, in the others less.
        assert image[..., label].min() >= 128
        assert np.delete(image, label, axis=2).max() < 128


def test_files_of_another_name_are_found_by_their_pattern(tiny_dataset, tmp_path):
    for number in (0, 1):
        shard = f"0000{number}-of-00002"
        content = (tiny_dataset / f"tiny_test_{shard}.tfrecord").read_bytes()
        (tmp_path / f"mine-test-{shard}").write_bytes(content)
    (tmp_path / "labels.txt").write_text("0:r\n1:g\n2:b\n")
    dataset = get_dataset("tiny", "test", str(tmp_path), file_pattern="mine-%s-*")
    assert dataset.data_sources == [str(tmp_path / f"mine-test-0000{n}-of-00002") for n in (0, 1)]
    assert (dataset.num_samples, dataset.labels_to_names) == (12, {0: "r", 1: "g", 2: "b"})


def test_an_unknown_split_is_an_error(tiny_dataset):
    with pytest.raises(FlagError, match=r"^split name nothing was not recognized"):
        get_dataset("tiny", "nothing", str(tiny_dataset))
