r"""Exports a checkpoint as one file or directory that has all it takes to classify.

    python export_inference_graph.py --checkpoint_path=RUN --format=saved_model \
        --output_file=exports/pets/1

The weights are inside, batch norm is folded into the convolutions, and the classes have their
names; nobody has to know the name of a node. Without --checkpoint_path it writes the graph of a net
without weights, as research/slim does.
"""

from typing import Any

from absl import flags as absl_flags

from core import script
from core.errors import FlagError
from core.flags import Group
from engine import flags
from inference.formats import FORMATS


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = Group("Export", flag_values)
    group.string("checkpoint_path", None, "Run directory or checkpoint; its weights go inside.")
    group.string("output_file", "", "Where to write: a new file, or for saved_model a directory.")
    group.choice("format", "saved_model", [*FORMATS], "What to make of a checkpoint.")
    group.boolean("quantize", False, "tflite: int8 instead of float32.")
    group.string(
        "calibration_images",
        None,
        "Folder or pattern of pictures that show int8 the range of each layer; default: the "
        "training split of the run's data.",
    )
    flags.define_image_limits(group)
    flags.define_model(flag_values)
    group = Group("Pictures and classes (as the model: read from a run's run.json)", flag_values)
    group.integer(
        "image_size",
        None,
        "Height and width, pixels; default: the net's own.",
        lower=1,
        upper=flags.LARGEST_IMAGE,
    )
    group.string("dataset_name", "imagenet", "Tells the classes, with --dataset_dir by name.")
    group.string("dataset_dir", "", "Directory of the converted dataset; default: the run's.")
    group = Group("Graph without weights (no --checkpoint_path)", flag_values)
    group.boolean("is_training", False, "Write the graph of training.")
    group.integer("batch_size", None, "Pictures at a time; default: any number.", lower=1)
    group.boolean("write_text_graphdef", False, "Write text instead of binary.")
    group.boolean("is_video_model", False, "Not built: there is no net for videos.")
    group.integer("num_frames", None, "Not built: goes with --is_video_model.", lower=1)
    flags.define_machine(flag_values)


def main(config: Any) -> None:
    """One export, top to bottom."""
    check(config)

    from inference import export

    if not config.checkpoint_path:
        print(f"wrote the graph of {config.model_name} to {export.write_graph(config)}")
        return
    report = export.export(config)
    print(f"exported {config.checkpoint_path} to {report.path} ({report.bytes / 1e6:.1f} MB)")
    print(f"largest difference from the checkpoint: {report.difference:.2g} in a probability")


def check(config: Any) -> None:
    """FlagError for values of the flags that do not go together."""
    if config.is_video_model or config.num_frames is not None:
        raise FlagError("--is_video_model is not built", remedy="leave it out, and --num_frames")
    if config.quantize and not (config.checkpoint_path and config.format == "tflite"):
        raise FlagError(
            "--quantize is built for --format=tflite with --checkpoint_path only",
            remedy="leave it out",
        )
    if config.calibration_images and not config.quantize:
        raise FlagError("--calibration_images goes with --quantize")
    with_weights = ("format",)
    without = ("is_training", "batch_size", "write_text_graphdef")
    for name in without if config.checkpoint_path else with_weights:
        if name in config.given:
            having = "without" if config.checkpoint_path else "with"
            raise FlagError(f"--{name} goes {having} --checkpoint_path", remedy="leave it out")


if __name__ == "__main__":
    script.run(main, define, __doc__)
