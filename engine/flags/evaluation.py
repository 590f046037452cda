"""The flags of an evaluation."""

from absl import flags as absl_flags

from core.flags import Group
from engine.flags.data import LARGEST_IMAGE


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags that evaluation alone has."""
    group = Group("Evaluation", flag_values)
    group.string(
        "checkpoint_path",
        "/tmp/tfmodel/",
        "Run directory (its newest checkpoint is taken) or one checkpoint, for example "
        "DIR/model.ckpt-1234.",
    )
    group.string(
        "eval_dir",
        None,
        "Directory for results.json and TensorBoard's event file; default: eval, inside the "
        "checkpoint's directory (research/slim: /tmp/tfmodel/ for all runs).",
    )
    group.integer("max_num_batches", None, "Evaluate only so many batches; default: all.", lower=1)
    group.integer(
        "eval_image_size",
        None,
        "Height and width in pixels; default: that of the run.",
        lower=1,
        upper=LARGEST_IMAGE,
    )
    group.float(
        "eval_interval_secs",
        0.0,
        "Keep evaluating each new checkpoint, looking for one so often, until training ends; "
        "0: evaluate once.",
        lower=0.0,
    )
    group.integer(
        "bootstrap_resamples",
        1000,
        "Resamples of the split that the 95 % intervals of the metrics are taken from; 0: none.",
        lower=0,
    )
    group.integer(
        "explain",
        0,
        "Show what the net looked at (Grad-CAM) in so many of its most confident mistakes.",
        lower=0,
    )
    group.float("min_accuracy", None, "Exit with 8 if the accuracy is lower.", lower=0.0, upper=1.0)
    group.boolean("quantize", False, "Not built: contrib quantisation has no successor.")
