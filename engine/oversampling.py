"""Epochs in which every class comes as often as the largest (--oversample)."""

from collections.abc import Sequence

import numpy as np
from absl import logging

from core.compat import tf
from core.errors import DataError
from datasets.spec import MANIFEST, LoadedSplit
from engine import imbalance


class Copies:
    """How often each record of a split comes in an epoch.

    Each class that has pictures comes M times, M being the size of the largest. Of its n pictures
    each comes M // n times, and M % n of them once more. Whose turn that is goes round from epoch
    to epoch, in the order of the records.

    Args:
        labels: of each record.
    """

    def __init__(self, labels: Sequence[int]) -> None:
        labels = np.asarray(labels)
        counts = np.bincount(labels)
        self._records, self._largest = len(labels), int(counts.max())
        self._sizes = counts[labels].astype(np.int32)  # of the class of each record
        # The position of each record among those of its class.
        by_class = np.argsort(labels, kind="stable")
        firsts = np.cumsum(counts) - counts
        self._ranks = np.empty_like(self._sizes)
        self._ranks[by_class] = np.arange(self._records) - firsts[labels[by_class]]
        self.most = -(-self._largest // int(self._sizes.min()))  # copies of one record
        self.epoch_size = imbalance.balanced_epoch(counts)

    @classmethod
    def of(cls, dataset: LoadedSplit, labels_offset: int) -> "Copies":
        """Those of a split, whose labels are read; the log says what an epoch is.

        Raises:
            DataError: as `imbalance.labels`, or there are other labels than dataset.json says.
        """
        labels = imbalance.labels(dataset, labels_offset)
        told = imbalance.class_counts(dataset, labels_offset)
        found = np.bincount(labels, minlength=len(told))
        if not np.array_equal(found, told):
            raise DataError(
                f"split {dataset.split} has {found.tolist()} records per class, {MANIFEST} says "
                f"{told.tolist()}",
                where=str(dataset.directory),
                remedy="convert the dataset again",
            )
        copies = cls(labels)
        names = dataset.class_names[labels_offset:]
        empty = [name for name, count in zip(names, found, strict=True) if not count]
        if empty:
            logging.warning("No pictures to oversample: %s", ", ".join(empty))
        logging.info(
            "Oversampling: an epoch has %d pictures, %d of each class; one comes up to %d times.",
            copies.epoch_size,
            found.max(),
            copies.most,
        )
        return copies

    def of_records(
        self, records: tf.data.Dataset, epoch: tf.Tensor, readings: int
    ) -> tf.data.Dataset:
        """The copies of an epoch, (copy x number of records + index, serialized record) each.

        Args:
            records: (index, serialized record) of the whole split, in any order.
            epoch: int64 scalar.
            readings: how often `records` is gone through; the copies of a record are dealt out to
                the readings in turn, from one on that differs between records.
        """
        sizes, ranks = tf.constant(self._sizes), tf.constant(self._ranks)

        def copies_of(
            reading: tf.Tensor, index: tf.Tensor, serialized: tf.Tensor
        ) -> tf.data.Dataset:
            size, rank = (tf.cast(table[index], tf.int64) for table in (sizes, ranks))
            more = self._largest % size
            is_its_turn = (rank - epoch * more) % size < more
            count = self._largest // size + tf.cast(is_its_turn, tf.int64)
            first = (reading - index) % readings
            numbers = tf.data.Dataset.range(
                first * self._records + index, count * self._records, readings * self._records
            )
            # No function of each copy, which would take longer than all the rest of it.
            return tf.data.Dataset.zip((numbers, tf.data.Dataset.from_tensors(serialized).repeat()))

        def of_reading(reading: tf.Tensor) -> tf.data.Dataset:
            return records.flat_map(lambda *record: copies_of(reading, *record))

        return tf.data.Dataset.range(readings).flat_map(of_reading)
