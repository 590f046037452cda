"""What TensorBoard's HParams tab shows of a run: its settings, how it ended, and which metrics.

TensorBoard takes a run for a session and finds the values of a metric in the run of the session's
name, joined with the metric's group: training's own in the run directory, those of an evaluation in
its sub-directory `eval`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.compat import tf
from engine import summaries

_END = ".session_end"  # what the name of an event file ends with
# The tab shows five settings and five metrics until more are ticked.
_FIRST_SETTINGS = {"batch_size", "learning_rate", "model_name", "optimizer", "train_image_size"}
# (group, tag, name of the column)
METRICS = (
    ("eval", "accuracy", "accuracy"),
    ("eval", "loss", "loss"),
    ("validation", "accuracy", "validation accuracy"),
    ("validation", "loss", "validation loss"),
    ("eval", "eval/f1_macro", "F1, macro"),
    ("", "loss", "training loss"),
    ("", "accuracy", "training accuracy"),
    ("eval", "eval/balanced_accuracy", "balanced accuracy"),
    ("eval", "eval/mcc", "MCC"),
    ("eval", "eval/roc_auc", "ROC AUC"),
    ("eval", "eval/average_precision", "average precision"),
)


def session_start(settings: Mapping[str, Any]) -> tf.Summary:
    """The settings of a run, and the columns of the tab.

    TensorBoard reads the columns from one of the runs that it shows, whichever comes first: all
    settings are named, also those that have no value in this run. Of a run that was resumed with
    other settings it keeps the first.

    Args:
        settings: by name, as in run.json. Only booleans, finite numbers and texts are shown.
    """
    from tensorboard.plugins.hparams import api_pb2, summary

    shown = {name: value for name, value in settings.items() if _is_shown(value)}
    # The columns have no domain: the tab would hide the runs whose values are others. Those that
    # are said to differ between runs come first.
    columns = [
        api_pb2.HParamInfo(name=name, type=_type(shown.get(name)), differs=name in _FIRST_SETTINGS)
        for name in sorted(settings)
    ]
    metrics = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(group=group, tag=tag),
            display_name=name,
            dataset_type=api_pb2.DATASET_VALIDATION if group else api_pb2.DATASET_TRAINING,
        )
        for group, tag, name in METRICS
    ]
    merged = summary.experiment_pb(columns, metrics)
    merged.MergeFrom(summary.session_start_pb(shown))
    return merged


def write_end(directory: Path, step: int, succeeded: bool) -> None:
    """Writes how a run ended, as an event file of its own.

    TensorBoard keeps the first end that it reads of a run: one that is resumed removes that of the
    process before it.

    Args:
        directory: the run directory.
        step: that of `session_start`.
        succeeded: whether no error ended it; a signal is none.
    """
    from tensorboard.plugins.hparams import api_pb2, summary

    status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    events = summaries.EventFile(directory, suffix=_END)
    events.add(step=step, summary=summary.session_end_pb(status))
    events.close()


def remove_end(directory: Path) -> None:
    """Removes what `write_end` wrote: the run goes on."""
    for path in directory.glob(f"*{_END}"):
        path.unlink()


def _is_shown(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int | str)


def _type(value: Any) -> int:
    """The type of a column, as TensorBoard numbers them; left open where there is no value."""
    from tensorboard.plugins.hparams import api_pb2

    if value is None:
        return api_pb2.DATA_TYPE_UNSET
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64
