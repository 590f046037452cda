"""Small datasets and short runs through the project's own parts."""

import contextlib
import dataclasses
import functools
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import datasets
import eval_image_classifier
import train_image_classifier
from core import flags as core_flags
from core.compat import tf
from datasets import conversion, tfrecord
from datasets.spec import Example
from engine import flags
from engine.history import State
from nets import nets_factory
from nets.nets_factory import NETS

NAME = "shades"
STEPS, SAVED = 7, 4  # of a finished run; 10 records in batches of 4: epochs end inside batches
RUNS = {
    "lenet": ("--optimizer=sgd",),
    "cifarnet": (
        *("--model_name=cifarnet", "--optimizer=momentum"),
        *("--learning_rate_decay_type=exponential", "--num_epochs_per_decay=1.0"),
    ),
    "mobilenet_v1_025": (
        *("--model_name=mobilenet_v1_025", "--optimizer=rmsprop"),
        *("--train_image_size=16", "--moving_average_decay=0.9", "--batch_norm_decay=0.9"),
    ),
}


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory):
    """make_dataset(...) converts pictures of noise, one shade per class; gives the directory.

    Labels go round: 0, 1, 2, 0, ..., unless `counts` says how many training pictures each class
    has; then they are mixed. Calls with the same arguments share a directory, unless `copy` numbers
    them: those are for tests that damage what they are given.
    """

    def pictures(labels, size, channels):
        count = len(labels)
        noise = np.random.RandomState(count)
        images = noise.randint(0, 60, (count, *size, channels))
        images += np.reshape([60 * label for label in labels], (-1, 1, 1, 1))
        encoded_images = tfrecord.encode_png([images.astype(np.uint8)])
        for encoded, label in zip(encoded_images, labels, strict=True):
            yield Example(encoded, "png", *size, label)

    @functools.cache
    def make_dataset(
        train=10,
        test=5,
        *,
        classes=3,
        shards=0,
        size=(12, 10),
        channels=3,
        first_label=0,
        copy=0,
        counts=(),
    ):
        def labels_that_go_round(count):
            return [first_label + i % (classes - first_label) for i in range(count)]

        def examples():
            uneven = np.repeat(range(len(counts)), counts)
            uneven = np.random.RandomState(0).permutation(uneven).tolist()
            labels = {"train": uneven or labels_that_go_round(train)}
            labels["test"] = labels_that_go_round(test)
            for split in labels:
                for example in pictures(labels[split], size, channels):
                    yield split, example

        source = conversion.Source(
            class_names=tuple(f"shade{i}" for i in range(classes)),
            settings={"copy": copy},
            examples=examples,
            channels=channels,
            num_shards=shards,
        )
        directory = tmp_path_factory.mktemp("dataset")
        conversion.convert(NAME, source, str(directory))
        return directory

    return make_dataset


@pytest.fixture(scope="session")
def load():
    """load(directory, split="train") opens a split of `make_dataset`."""
    return lambda directory, split="train": datasets.load(directory, NAME, split)


@pytest.fixture(scope="session")
def configured():
    """configured("--flag=value", ...) is a training configuration, LeNet on 8x8 pixels if not told.

    As in the script, the preprocessing is filled in.
    """

    def configured(*arguments):
        small = ["--model_name=lenet", "--train_image_size=8", "--batch_size=4"]
        config = core_flags.parse(flags.define_training, [*small, *arguments])
        name = config.preprocessing_name or NETS[config.model_name].preprocessing
        return dataclasses.replace(config, preprocessing_name=name)

    return configured


@pytest.fixture(scope="session")
def train():
    """train(dataset_dir, train_dir, "--flag=value", ...) runs the training script's main."""

    def train(dataset_dir, train_dir, *arguments):
        small = ["--model_name=lenet", "--train_image_size=8", "--batch_size=4"]
        small += [f"--dataset_name={NAME}", "--learning_rate_decay_type=fixed"]
        places = [f"--dataset_dir={dataset_dir}", f"--train_dir={train_dir}"]
        config = core_flags.parse(flags.define_training, [*small, *places, *arguments])
        train_image_classifier.main(config)

    return train


@pytest.fixture(scope="session")
def flags_of():
    """flags_of(net) is what `finished_run` was given beside the data and the cadences."""
    return RUNS.__getitem__


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, make_dataset, train):
    """finished_run(net) is the directory of a run of 7 steps, to read only; see RUNS.

    It has checkpoints of steps 0, 4 and 7 and summaries of steps 1, 3, 6 and 7.
    """

    @functools.cache
    def finished_run(net):
        directory = tmp_path_factory.mktemp(net)
        often = [f"--save_interval_steps={SAVED}", "--save_summaries_steps=3"]
        train(make_dataset(), directory, f"--max_number_of_steps={STEPS}", *often, *RUNS[net])
        return directory

    return finished_run


@pytest.fixture
def copied_run(finished_run, tmp_path):
    """copied_run(net) is a copy of `finished_run`, to write to."""
    return lambda net: Path(shutil.copytree(finished_run(net), tmp_path / net))


@pytest.fixture(scope="session")
def evaluate():
    """evaluate(checkpoint_path, "--flag=value", ...) runs the evaluation script's main."""

    def evaluate(checkpoint_path, *arguments):
        path = f"--checkpoint_path={checkpoint_path}"
        eval_image_classifier.main(core_flags.parse(flags.define_evaluation, [path, *arguments]))

    return evaluate


@pytest.fixture(scope="session")
def variables_of():
    """variables_of(checkpoint) is every variable in it, by name."""

    def variables_of(checkpoint):
        reader = tf.train.load_checkpoint(str(checkpoint))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}

    return variables_of


@pytest.fixture(scope="session")
def digest(variables_of):
    """digest(checkpoint) is the SHA-256 over names and bits of all its variables."""

    def digest(checkpoint):
        total = hashlib.sha256()
        for name, value in sorted(variables_of(checkpoint).items()):
            total.update(f"{name} {value.dtype} {value.shape}".encode())
            total.update(value.tobytes())
        return total.hexdigest()

    return digest


@pytest.fixture(scope="session")
def events_of():
    """events_of(directory) is all events of its event files, in the order of the files."""

    def events_of(directory):
        paths = sorted(directory.glob("events.out.tfevents.*"), key=lambda p: p.stat().st_mtime_ns)
        return [event for path in paths for event in tf.train.summary_iterator(str(path))]

    return events_of


@pytest.fixture
def two_variables():
    """Enters a graph of a global step and a float w of 2; gives a session and w."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step()
        w = tf.get_variable("net/w", initializer=[1.0, 2.0])
        session.run(tf.global_variables_initializer())
        yield session, w


@pytest.fixture
def lenet():
    """lenet(classes, optimizer) enters a graph that trains LeNet on 8x8 pixels; gives a session."""

    @contextlib.contextmanager
    def lenet(classes=3, optimizer=None):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(5)
            step = tf.train.create_global_step()
            tf.get_variable("history/state", initializer=np.zeros(len(State())), trainable=False)
            net = nets_factory.get_network_fn("lenet", classes, is_training=True)
            loss = tf.reduce_sum(net(tf.zeros([1, 8, 8, 3]))[0])
            (optimizer or tf.train.GradientDescentOptimizer(0.1)).minimize(loss, global_step=step)
            yield session

    return lenet


@pytest.fixture(scope="session")
def damage():
    """damage(run, step, ending, kind): a file of a checkpoint is cut, flipped, empty or missing."""

    def damage(run, step, ending, kind):
        path = run / f"model.ckpt-{step}.{ending}"
        content = bytearray(path.read_bytes())
        if kind == "flipped":
            content[len(content) // 3] ^= 1
        if kind == "missing":
            path.unlink()
        else:
            path.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(kind)])

    return damage
