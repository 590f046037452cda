"""What CONTRIBUTING says of adding a net, done."""

import json
import re
import sys
import types
from pathlib import Path

import eval_image_classifier
import train_image_classifier
from core import flags as core_flags
from core.compat import tf
from engine import flags
from nets import lenet, nets_factory
from nets.nets_factory import NETS, Net

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S)


def variables(net):
    with tf.Graph().as_default():
        _, end_points = net(tf.zeros([1, 28, 28, 3]), 10)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    return shapes, {name: tensor.shape.as_list() for name, tensor in end_points.items()}


def module(code, name):
    module = types.ModuleType(f"nets.{name}")
    exec(code, module.__dict__)
    return module


def test_the_file_that_it_shows_is_lenet():
    shown = module(BLOCKS[0], "lenet").lenet
    assert variables(shown) == variables(lenet.lenet)
    for attribute in ("default_image_size", "head_scopes"):
        assert getattr(shown, attribute) == getattr(lenet.lenet, attribute)
    assert BLOCKS[1] in Path(nets_factory.__file__).read_text(encoding="utf-8")


def test_one_file_and_one_line_are_enough(monkeypatch, tiny_dataset, tmp_path):
    code, row = BLOCKS[0].replace("lenet", "newnet"), BLOCKS[1].replace("lenet", "newnet", 2)
    monkeypatch.setitem(sys.modules, "nets.newnet", module(code, "newnet"))
    registered = eval(f"{{{row}}}", {"Net": Net})
    monkeypatch.setattr(NETS, "_entries", {**NETS, **registered})
    given = [f"--train_dir={tmp_path}", f"--dataset_dir={tiny_dataset}", "--dataset_name=tiny"]
    net = ["--model_name=newnet", "--train_image_size=8", "--batch_size=8", "--optimizer=adam"]
    steps = ["--max_number_of_steps=60", "--learning_rate=0.001"]
    config = core_flags.parse(flags.define_training, [*given, *net, *steps])
    train_image_classifier.main(config)
    evaluation = [f"--checkpoint_path={tmp_path}", "--min_accuracy=0.9"]
    eval_image_classifier.main(core_flags.parse(flags.define_evaluation, evaluation))
    assert json.loads((tmp_path / "run.json").read_text())["model_name"] == "newnet"
    assert nets_factory.listing().splitlines()[-2].startswith("newnet  ")
