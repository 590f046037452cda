"""From record files to batches of preprocessed images.

The order of the steps, and why:

1. Read the encoded records, shuffle them, and only then decode: the shuffle buffer holds small
   PNG and JPEG files rather than large arrays.
2. The order within an epoch is a pure function of (seed, epoch), and where training stands is
   `global step x batch size` pictures. A run that resumes at step N therefore sees what the
   uninterrupted run would have seen, and there is no state to save. What of an epoch has been
   seen already is skipped before it is decoded.
3. Epochs follow one another before batches are made, so every batch is full.
4. Augmentation is keyed by (seed, epoch, record index), so that it does not depend on threads;
   with --oversample, by (seed, epoch, copy, record index).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from core.compat import tf
from datasets import tfrecord, verification
from datasets.spec import LoadedSplit
from engine import flags, image_cache, imbalance
from engine.oversampling import Copies
from preprocessing import augmentation, ops, preprocessing_factory

SHUFFLE_BYTES = 1 << 30  # encoded records held in memory to shuffle; more of a split is mixed less
# A place in that buffer takes up to so much beside the record (TensorFlow 2.21: 205 to 490 bytes).
_PLACE_BYTES = 512
# Pictures under way at a time, so that a thread that is done with one finds the next at hand. With
# one for each thread, waking the threads costs a fifth of what preparing a picture of 32x32 takes.
_UNDER_WAY = 32
_ENDLESS = tf.int64.max
# What TensorFlow raises for a damaged record. Other errors, such as memory running out, would have
# the whole split read again for nothing.
_DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    UnicodeDecodeError,
)


class _Sizes(NamedTuple):
    """Image sizes that follow one another, pixels; all but the last end before a step."""

    sizes: list[int]
    ends: list[int]

    def at(self, step: tf.Tensor, prepared: Callable[[int], tf.Tensor]) -> tf.Tensor:
        """An image prepared in the size of that step; only this one is computed."""
        if not self.ends:
            return prepared(self.sizes[0])
        stage = tf.reduce_sum(tf.cast(step >= self.ends, tf.int32))
        return tf.switch_case(stage, [functools.partial(prepared, size) for size in self.sizes])


class Batch(NamedTuple):
    """One batch, and the operation that starts the flow of them."""

    images: tf.Tensor  # float32 [N, height, width, channels], preprocessed
    labels: tf.Tensor  # int64 [N], after --labels_offset
    ids: tf.Tensor  # int64 [N], index of the record within its split
    start: tf.Operation  # run it once; training starts where the global step says
    names: tf.Tensor | None = None  # of evaluation: string [N], paths of the pictures, or empty


def epoch_size(dataset: LoadedSplit, config: Any) -> int:
    """How many pictures an epoch of training takes.

    Args:
        dataset: the split to read.
        config: read here: oversample, labels_offset.

    Raises:
        DataError: as `imbalance.class_counts`.
    """
    if not config.oversample:
        return dataset.num_samples
    return imbalance.balanced_epoch(imbalance.class_counts(dataset, config.labels_offset))


def training_batch(dataset: LoadedSplit, config: Any) -> Batch:
    """Endless batches of augmented pictures, in an order that (seed, global step) decides.

    Args:
        dataset: the split to read.
        config: read here: train_image_size, image_size_schedule, batch_size, seed, num_readers,
            cache_decoded_images, oversample, labels_offset, and what `_example_of_record` reads.

    Raises:
        DataError: with --oversample, as `Copies.of`.
    """
    samples = epoch_size(dataset, config)
    copies = Copies.of(dataset, config.labels_offset) if config.oversample else None
    numbers = _numbers(dataset, copies)
    position = tf.train.get_global_step() * config.batch_size
    first_epoch, seen = position // samples, position % samples

    def epoch_of_records(epoch: tf.Tensor) -> tf.data.Dataset:
        records = _shuffled_records(dataset, config.seed, epoch, config.num_readers, copies)
        records = records.skip(tf.where(tf.equal(epoch, first_epoch), seen, 0))
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(epoch).repeat(), records))

    sizes = _Sizes(
        [size for size, _ in flags.image_sizes(config)] + [config.train_image_size],
        [round(samples * end / config.batch_size) for _, end in flags.image_sizes(config)],
    )
    decode = image_cache.decoder(dataset) if config.cache_decoded_images else None
    example = _example_of_record(dataset, sizes, config, is_training=True, decode=decode)

    # As it stands: AutoGraph would turn an error of preprocessing into one of its own.
    @tf.autograph.experimental.do_not_convert
    def example_of(number: tf.Tensor, record_of_epoch: tuple) -> tuple:
        epoch, (copy, serialized) = record_of_epoch
        # Together with the run's seed: what the augmentation of this picture is keyed by.
        counter = epoch * numbers + copy
        index = copy % dataset.num_samples
        return example(index, serialized, counter, number // config.batch_size)

    records = tf.data.Dataset.range(first_epoch, _ENDLESS).flat_map(epoch_of_records)
    examples = _mapped(records.enumerate(position), example_of)
    return _batch(examples.batch(config.batch_size, drop_remainder=True), dataset, config)


def _numbers(dataset: LoadedSplit, copies: Copies | None) -> int:
    """How many numbers an epoch has for its pictures.

    A copy has the number copy x records + index, so that the first ones have their index.
    """
    return dataset.num_samples * (copies.most if copies else 1)


def evaluation_batch(dataset: LoadedSplit, config: Any) -> Batch:
    """One pass over a split in its stored order; the last batch holds what is left.

    Args:
        dataset: the split to read.
        config: read here: eval_image_size, batch_size, and what `_example_of_record` reads.
    """
    sizes = _Sizes([config.eval_image_size], [])
    example = _example_of_record(dataset, sizes, config, is_training=False)

    @tf.autograph.experimental.do_not_convert
    def example_of(index: tf.Tensor, serialized: tf.Tensor) -> tuple:
        return example(index, serialized, counter=index, step=0)

    records = tf.data.Dataset.from_tensor_slices(_shards(dataset)).flat_map(_records_of_shard)
    # TensorFlow makes room for a batch beforehand.
    batch_size = min(config.batch_size, dataset.num_samples)
    return _batch(_mapped(records, example_of).batch(batch_size), dataset, config)


def first_pictures(dataset: LoadedSplit, config: Any, count: int, is_training: bool) -> Batch:
    """One batch of the first pictures of a split, in its stored order, to be looked at.

    In training they are what an epoch is fed of these records, the first time with --oversample:
    that of the global step's number.

    Args:
        dataset: the split to read.
        config: read here: train_image_size, oversample, labels_offset, and what
            `_example_of_record` reads.
        count: pictures, or as many as there are.
        is_training: whether as in training, or as in evaluation.
    """
    sizes = _Sizes([config.train_image_size], [])
    example = _example_of_record(dataset, sizes, config, is_training)
    copies = Copies.of(dataset, config.labels_offset) if config.oversample else None
    first = tf.train.get_global_step() * _numbers(dataset, copies)

    @tf.autograph.experimental.do_not_convert
    def example_of(index: tf.Tensor, serialized: tf.Tensor) -> tuple:
        return example(index, serialized, counter=first + index, step=0)

    records = tf.data.Dataset.from_tensor_slices(_shards(dataset)).flat_map(_records_of_shard)
    return _batch(_mapped(records.take(count), example_of).batch(count), dataset, config)


def _shards(dataset: LoadedSplit) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The record files, with the index of the first record of each and the number of records."""
    counts = np.array([shard.records for shard in dataset.shards], np.int64)
    return dataset.paths, np.cumsum(counts) - counts, counts


def _records_of_shard(path: tf.Tensor, first: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
    """(index, serialized record) of one file, which fails if the number of records has changed."""
    records = tf.data.TFRecordDataset(path).apply(tf.data.experimental.assert_cardinality(count))
    return records.enumerate(first)


def _shuffled_records(
    dataset: LoadedSplit, seed: int, epoch: tf.Tensor, num_readers: int, copies: Copies | None
) -> tf.data.Dataset:
    """(number, serialized record) of a split, or of copies of it, in the order of one epoch."""
    shards = tf.data.Dataset.from_tensor_slices(_shards(dataset))
    if len(dataset.shards) > 1:
        shards = shards.shuffle(
            len(dataset.shards), seed=_mixed(seed, 2 * epoch), reshuffle_each_iteration=False
        )
    records = shards.interleave(
        _records_of_shard,
        cycle_length=min(num_readers, len(dataset.shards)),
        num_parallel_calls=min(num_readers, len(dataset.shards)),
        deterministic=True,
    )
    bytes_per_record = sum(shard.bytes for shard in dataset.shards) / dataset.num_samples
    buffer = min(dataset.num_samples, max(1, int(SHUFFLE_BYTES / bytes_per_record)))
    if copies:
        # Copies that are in the buffer together share their bytes: if it holds all records, it
        # holds all copies, too. Otherwise the copies come to it in several readings of the files,
        # of which there are no more than other data with as many pictures would take.
        is_whole = buffer == dataset.num_samples
        readings = 1 if is_whole else -(-copies.epoch_size // dataset.num_samples)
        records = copies.of_records(records, epoch, readings)
        buffer = min(copies.epoch_size, SHUFFLE_BYTES // _PLACE_BYTES) if is_whole else buffer
    return records.shuffle(buffer, seed=_mixed(seed, 2 * epoch + 1), reshuffle_each_iteration=False)


def _mixed(seed: int, counter: tf.Tensor) -> tf.Tensor:
    """A seed for one shuffle: distinct for distinct (seed, counter)."""
    # Never 0: tf.data takes the pair of seeds (0, 0) for "no seed given".
    return counter + (seed + 1) * (1 << 32)


def _example_of_record(
    dataset: LoadedSplit,
    sizes: _Sizes,
    config: Any,
    is_training: bool,
    decode: image_cache.Decoder | None = None,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """(image, label, index) of (index, serialized record, augmentation counter, step).

    In evaluation, the path of the picture follows.

    Args:
        dataset: the split that is read.
        sizes: of the images.
        config: read here: preprocessing_name, use_grayscale, labels_offset; in training also seed,
            recipe_augmentation, cutout_fraction, and what `augmentation.augmenter` reads.
        is_training: whether to distort the images.
        decode: of an index and an encoded picture, the picture.
    """
    decode = decode or (lambda _, encoded: tfrecord.decode(encoded, dataset.channels))
    preprocess = preprocessing_factory.get_preprocessing(
        config.preprocessing_name,
        is_training and config.recipe_augmentation,
        config.use_grayscale,
    )
    augmenter = augmentation.augmenter(config) if is_training else None

    def example(
        index: tf.Tensor, serialized: tf.Tensor, counter: tf.Tensor, step: tf.Tensor | int
    ) -> tuple[tf.Tensor, ...]:
        record = tfrecord.parse(serialized)
        image = decode(index, record.encoded)
        seed = tf.stack([tf.constant(config.seed, tf.int64), counter]) if is_training else None
        augment = None
        if augmenter:
            # Neither a run's seed nor a picture's counter is negative: this seed is nobody else's,
            # nor is that of cutout.
            augmenter_seed = tf.stack([-1 - seed[0], counter])
            augment = functools.partial(augmenter, seed=augmenter_seed)

        def prepared(size: int) -> tf.Tensor:
            result = preprocess(image, size, size, seed=seed, augment=augment)
            if is_training and config.cutout_fraction:
                cutout_seed = tf.stack([seed[0], -1 - counter])
                result = ops.cutout(result, round(size * config.cutout_fraction), cutout_seed)
            return result

        image = sizes.at(step, prepared)
        found = image, record.label - config.labels_offset, index
        return found if is_training else (*found, record.filename)

    return example


def _mapped(records: tf.data.Dataset, example_of: Callable[..., tuple]) -> tf.data.Dataset:
    """The examples of records, in the same order; `_batch` says how many threads prepare them."""
    # All in one parallel map: each sequential one, which wakes a thread for every record and waits
    # for it, costs a fifth of what preparing a picture of 32x32 takes.
    return records.map(example_of, num_parallel_calls=_UNDER_WAY, deterministic=True)


def _batch(batches: tf.data.Dataset, dataset: LoadedSplit, config: Any) -> Batch:
    """The next batch of a dataset, with its labels checked."""
    options = tf.data.Options()
    # Threads of its own, so that --inter_op_threads=1 does not make the net wait for its input.
    options.threading.private_threadpool_size = config.num_preprocessing_threads
    batches = batches.prefetch(tf.data.AUTOTUNE).with_options(options)
    iterator = tf.data.make_initializable_iterator(batches)
    images, labels, ids, *names = iterator.get_next()
    classes = dataset.num_classes - config.labels_offset
    # One-hot encoding would turn a label out of range into zeros, hence a loss of 0.
    in_range = tf.reduce_all((labels >= 0) & (labels < classes))
    with tf.control_dependencies([tf.debugging.Assert(in_range, ["label out of range", labels])]):
        labels = tf.identity(labels, name="labels")
    return Batch(images, labels, ids, iterator.initializer, *names)


@contextlib.contextmanager
def damage_named(dataset: LoadedSplit, labels_offset: int) -> Iterator[None]:
    """Turns what TensorFlow says of a damaged record into a DataError with file and record.

    TensorFlow's own errors name neither; so the split is read once more, only then.
    """
    try:
        yield
    except _DAMAGE:
        logging.info("Looking for a damaged record.")
        for fault in verification.record_faults(dataset, labels_offset):
            raise fault from None
        raise
