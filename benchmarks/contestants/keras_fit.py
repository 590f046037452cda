"""Keras 3: `model.fit` on a net of keras.applications, pictures from memory."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.contestants import serving
from engine import keras_weights


def make(spec: Mapping[str, Any]) -> serving.Contestant:
    """Builds and compiles the net; the task "step" fits it for so many batches.

    Args:
        spec: net (its name here), pool (file with the pictures), batch_size,
            momentum, learning_rate, mixed_precision, classes.
    """
    import keras

    from core.compat import tf

    if spec["mixed_precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    with np.load(spec["pool"]) as pool:
        images, labels = pool["images"], pool["labels"]
    model = keras_weights.application(spec["net"], spec["classes"], images.shape[1])
    model.compile(
        keras.optimizers.SGD(spec["learning_rate"], momentum=spec["momentum"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.batch(spec["batch_size"], drop_remainder=True).repeat()
    batches = batches.prefetch(tf.data.AUTOTUNE)

    def fit(count: int) -> float:
        ends: list[float] = []
        # Without what `fit` does before its first batch and after its last.
        clock = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: ends.append(time.perf_counter())
        )
        steps = serving.LEAD_IN + count
        model.fit(batches, steps_per_epoch=steps, verbose=0, callbacks=[clock])
        return ends[-1] - ends[serving.LEAD_IN - 1]

    return serving.Contestant({"step": fit}, {"keras": keras.__version__})


if __name__ == "__main__":
    serving.serve(make)
