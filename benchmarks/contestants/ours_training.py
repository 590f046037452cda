"""Our training step, as train_image_classifier.py builds and runs it.

Summaries and checkpoints are left out: a run writes them every ten minutes.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

import datasets
from benchmarks import flop
from benchmarks.contestants import serving
from core import flags as core_flags
from core.compat import tf
from engine import flags, input_pipeline, model, optimization, run_dir, sessions, trained_layers

POOL_BATCHES = 4  # that the peers go over again and again


def _configuration(spec: Mapping[str, Any]) -> Any:
    arguments = [
        *(f"--model_name={spec['net']}", f"--train_image_size={spec['size']}"),
        *(f"--dataset_dir={spec['dataset_dir']}", f"--dataset_name={spec['dataset_name']}"),
        *(f"--batch_size={spec['batch_size']}", f"--train_dir={spec['train_dir']}"),
        *("--optimizer=momentum", f"--momentum={spec['momentum']}", "--weight_decay=0"),
        *(f"--learning_rate={spec['learning_rate']}", "--learning_rate_decay_type=fixed"),
        f"--mixed_precision={spec['mixed_precision']}",
    ]
    if "workers" in spec:
        arguments.append(f"--num_preprocessing_threads={spec['workers']}")
    config = core_flags.parse(flags.define_training, arguments)
    flags.check_training(config)
    return config


def make(spec: Mapping[str, Any]) -> serving.Contestant:
    """Builds the graph in the default graph, and the tasks on it.

    The task "step" reads, decodes, augments and trains; "constant" trains on one batch again and
    again; "input" only prepares batches.

    Args:
        spec: net, size (pixels), batch_size, dataset_dir, dataset_name, train_dir (of no run),
            momentum, learning_rate, mixed_precision; optionally workers, pool, a file to write
            the first batches to, and trace, a number of steps to look into: then the facts have
            what `_traced` finds, too.
    """
    config = _configuration(spec)
    dataset = datasets.load(config.dataset_dir, config.dataset_name, config.dataset_split_name)
    config = run_dir.settled(dataset, config)
    run = run_dir.describe(dataset, config)
    tf.set_random_seed(config.seed)
    tf.train.create_global_step()
    batch = input_pipeline.training_batch(dataset, config)
    classifier = model.build(batch, run.num_classes, config)
    operations = flop.training_step(tf.get_default_graph())
    learning_rate = optimization.make_learning_rate(dataset.num_samples, config)
    trained = trained_layers.trained(config)
    train_op = optimization.train_ops(classifier, learning_rate, trained, config).at(1)

    session = tf.Session(config=sessions.session_config(config))
    session.run(tf.global_variables_initializer())
    session.run(batch.start)  # which reads the global step
    if "pool" in spec:
        _write_pool(spec["pool"], session, batch)
    images, labels = session.run([batch.images, batch.labels])
    take_step = session.make_callable([train_op])
    take_step_on = session.make_callable([train_op], feed_list=[batch.images, batch.labels])
    prepare = session.make_callable(batch.labels.op)

    def from_an_empty_queue(step: Any, count: int) -> float:
        # Otherwise the batches that were prepared while others had their turn would be for nothing.
        session.run(batch.start)
        return serving.timed(step, count)

    tasks = {
        "step": lambda count: from_an_empty_queue(take_step, count),
        "constant": lambda count: serving.timed(lambda: take_step_on(images, labels), count),
        "input": lambda count: from_an_empty_queue(prepare, count),
    }
    facts = {"flop": operations}
    if "trace" in spec:
        facts.update(_traced(session, train_op, spec["trace"]))
    return serving.Contestant(tasks, facts)


def _traced(session: tf.Session, train_op: tf.Tensor, steps: int) -> dict[str, Any]:
    """What TensorFlow's tracing tells of some steps.

    Returns:
        "operations": {type of operation: [operations per step, seconds per step]}; "waiting": the
        share of a step's time in which it waits for its batch.
    """
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    found: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    whole = 0.0  # seconds per step
    for number in range(serving.LEAD_IN + steps):
        trace = tf.RunMetadata()
        session.run(train_op, options=options, run_metadata=trace)
        if number < serving.LEAD_IN:
            continue
        nodes = [node for device in trace.step_stats.dev_stats for node in device.node_stats]
        for node in nodes:
            # "name = Type(inputs)"
            type_ = node.timeline_label.partition(" = ")[2].partition("(")[0]
            found[type_][0] += 1 / steps
            found[type_][1] += (node.op_end_rel_micros - node.op_start_rel_micros) / 1e6 / steps
        begin = min(node.all_start_micros for node in nodes)
        end = max(node.all_start_micros + node.op_end_rel_micros for node in nodes)
        whole += (end - begin) / 1e6 / steps
    return {"operations": found, "waiting": found["IteratorGetNext"][1] / whole}


def _write_pool(path: str, session: tf.Session, batch: input_pipeline.Batch) -> None:
    """Writes some batches for those who cannot read records."""
    batches = [session.run([batch.images, batch.labels]) for _ in range(POOL_BATCHES)]
    images, labels = map(np.concatenate, zip(*batches, strict=True))
    np.savez(path, images=images, labels=labels)


if __name__ == "__main__":
    with tf.Graph().as_default():
        serving.serve(make)
