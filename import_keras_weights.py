r"""Turns weights of keras.applications into a checkpoint of the same net here.

    python import_keras_weights.py --model_name=mobilenet_v1 --output_dir=imagenet/mobilenet_v1 \
        --weights=mobilenet_1_0_224_tf.h5

Then `--checkpoint_path=imagenet/mobilenet_v1` fine-tunes it, or evaluates, classifies and exports
it as it is. The file is one that Keras downloads (it keeps them in ~/.keras/models) or that
`save_weights` wrote; with --weights=imagenet Keras downloads it.
"""

from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from core import script
from core.errors import FlagError
from core.flags import Group
from datasets import spec
from engine import flags
from engine.keras_weights import APPLICATIONS, IMAGENET
from nets.nets_factory import NETS


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = Group("Net", flag_values)
    group.string("model_name", None, f"One of {', '.join(APPLICATIONS)}.")
    group.string("weights", None, f"The file, or {IMAGENET}: Keras downloads those of ImageNet.")
    group.integer(
        "num_classes",
        1000,
        "Outputs of the net; 0: the file has no head, as one of a name with notop.",
        lower=0,
        upper=100_000,
    )
    group.integer(
        "image_size",
        None,
        "Height and width of its pictures, pixels; default: the net's own.",
        lower=1,
        upper=flags.LARGEST_IMAGE,
    )
    group.string(
        "labels_file",
        None,
        "Names of the classes, a line id:name for each, as in labels.txt; default: their numbers.",
    )
    group = Group("Output", flag_values)
    group.string("output_dir", None, "A new directory for the checkpoint and run.json.")


def main(config: Any) -> None:
    """One import, top to bottom."""
    for name in ("model_name", "weights", "output_dir"):
        if not getattr(config, name):
            raise FlagError(f"--{name} is needed", remedy="see --help")
    class_names = names_of_classes(config)

    from engine import keras_weights, untrained

    size = config.image_size or NETS[config.model_name].image_size
    application = keras_weights.application(
        config.model_name, config.num_classes, size, config.weights
    )
    left_out = []

    def values(shapes: untrained.Shapes) -> dict[str, Any]:
        found = keras_weights.converted(application, config.model_name, shapes)
        left_out.extend(sorted(shapes.keys() - found.keys()))
        return found

    untrained.write(Path(config.output_dir), config.model_name, size, class_names, values)
    print(f"wrote {application.name} of Keras as {config.model_name} to {config.output_dir}")
    if left_out:
        print(f"not in the file, and left out: {', '.join(left_out)}")


def names_of_classes(config: Any) -> list[str]:
    """The names of the classes, from --labels_file or numbers.

    Raises:
        FlagError: the file has others than 0, 1, ..., --num_classes - 1.
        DataError: it is not of that form.
    """
    numbers = range(config.num_classes)
    if not config.labels_file:
        return [str(number) for number in numbers]
    names = spec.read_labels(Path(config.labels_file))
    if names.keys() != set(numbers):
        raise FlagError(
            f"the file names {len(names)} classes, not 0 to {config.num_classes - 1}",
            where=config.labels_file,
            remedy="pass --num_classes, or correct it",
        )
    return [names[number] for number in numbers]


if __name__ == "__main__":
    script.run(main, define, __doc__)
