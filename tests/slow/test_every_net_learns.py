"""Every net learns to tell two classes of CIFAR-10 apart, from a few hundred real pictures.

CIFAR10_DIR names the directory that `download_and_convert_data.py --dataset_name=cifar10` wrote.
"""

import os
from pathlib import Path

import pytest

import download_and_convert_data
import eval_image_classifier
import train_image_classifier
from core import flags as core_flags
from datasets import tfrecord
from engine import flags
from nets.nets_factory import NETS

CIFAR10 = os.environ.get("CIFAR10_DIR")
CLASSES = {0: "airplane", 6: "frog"}
PER_CLASS = 400
# These shrink pictures of 32 pixels to one place long before their end, and learn slowly then.
STEM_STRIDE = {"mobilenet": 1, "efficientnet": 1}
STEPS = {"mobilenet_v1_025": 300}  # others take 150
WITHOUT_BATCH_NORM = ("lenet", "cifarnet", "vgg_16")


def run(script, define, *arguments):
    script.main(core_flags.parse(define, arguments))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Directory of a dataset of some 600 pictures to train on and 200 to test."""
    if not CIFAR10:
        pytest.skip("CIFAR10_DIR is not set")
    pictures, directory = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("data")
    missing = dict.fromkeys(CLASSES, PER_CLASS)
    for name in CLASSES.values():
        (pictures / name).mkdir()
    for record in tfrecord.read(Path(CIFAR10) / "cifar10_train.tfrecord"):
        encoded, label = tfrecord.picture_and_label(record.content)
        if missing.get(label):
            (pictures / CLASSES[label] / f"{missing[label]}.png").write_bytes(encoded)
            missing[label] -= 1
        if not any(missing.values()):
            break
    given = ["--dataset_name=two", f"--image_dir={pictures}", f"--dataset_dir={directory}"]
    fractions = ["--validation_fraction=0", "--test_fraction=0.25"]
    run(download_and_convert_data, download_and_convert_data.define_flags, *given, *fractions)
    return directory


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NETS)
def test_a_net_learns(dataset, tmp_path, name):
    given = ["--dataset_name=two", f"--dataset_dir={dataset}", f"--train_dir={tmp_path}"]
    net = [f"--model_name={name}", "--train_image_size=32", "--preprocessing_name=pad_crop"]
    net += [f"--stem_stride={n}" for kind, n in STEM_STRIDE.items() if name.startswith(kind)]
    steps = ["--batch_size=32", f"--max_number_of_steps={STEPS.get(name, 150)}", "--optimizer=adam"]
    rate = ["--learning_rate=0.0003" if name in WITHOUT_BATCH_NORM else "--learning_rate=0.001"]
    if name not in WITHOUT_BATCH_NORM:
        rate.append("--batch_norm_decay=0.9")
    run(train_image_classifier, flags.define_training, *given, *net, *steps, *rate)
    # By chance it is 0.5, give or take 0.035 (one standard deviation of 208 pictures).
    evaluation = [f"--checkpoint_path={tmp_path}", "--min_accuracy=0.75"]
    run(eval_image_classifier, flags.define_evaluation, *evaluation)
