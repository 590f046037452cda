"""The datasets that are known by name: who converts them, and what research/slim's files look like.

A dataset of the user's own needs no entry: any other name with --image_dir is a folder of pictures.
"""

import dataclasses
import fnmatch
import glob
from typing import Any

from core.registry import Registry


@dataclasses.dataclass(frozen=True)
class Known:
    """Facts about a dataset that a name alone tells.

    The file patterns (%s stands for the split) and class counts are those of research/slim, for
    data without dataset.json.
    """

    converter: str = "datasets.image_folder:source"  # where its source function stands
    file_patterns: tuple[str, ...] = ("{name}_%s.tfrecord", "{name}_%s_*.tfrecord")
    num_classes: int = 0  # 0: labels.txt tells
    channels: int = 3

    @property
    def downloads(self) -> bool:
        """Whether the name brings its own pictures, so that no folder has to be given."""
        return self.converter != Known.converter

    def matches(self, file: str, name: str, split: str) -> bool:
        """Whether a file name is that of a record file of a split."""
        name, split = glob.escape(name), glob.escape(split)
        return any(
            fnmatch.fnmatchcase(file, pattern.replace("%s", split).replace("{name}", name))
            for pattern in self.file_patterns
        )


DATASETS = Registry(
    "Name of dataset unknown %s",
    {
        "cifar10": Known("datasets.cifar10:source", num_classes=10),
        "mnist": Known("datasets.mnist:source", num_classes=10, channels=1),
        "phase_diagrams": Known("datasets.phase_diagrams:source", num_classes=2),
        "flowers": Known(num_classes=5),
        "imagenet": Known(file_patterns=("%s-*",), num_classes=1001),
        "visualwakewords": Known(file_patterns=("%s.record-*",), num_classes=2),
    },
)


def get_dataset(
    name: str,
    split_name: str,
    dataset_dir: str,
    file_pattern: str | None = None,
    reader: Any = None,
) -> Any:
    """A split as a slim.dataset.Dataset, for scripts that read it with slim's data providers.

    Args:
        name: of the dataset, as it was given to the converter.
        split_name: for example "train", "validation" or "test".
        dataset_dir: where the dataset was written.
        file_pattern: names of the record files, with %s for the split; by default as in `load`.
        reader: class that reads the files; by default tf.TFRecordReader.

    Returns:
        A slim.dataset.Dataset with data_sources, reader, decoder, num_samples, num_classes,
        labels_to_names and items_to_descriptions. Its items are `image`, uint8 [height, width,
        channels], and `label`, int64.

    Raises:
        FlagError, DataError: as `datasets.spec.load`.
    """
    from core.compat import slim, tf
    from datasets import spec, tfrecord

    split = spec.load(dataset_dir, name, split_name, file_pattern)
    return slim.dataset.Dataset(
        data_sources=split.paths,
        reader=reader or tf.TFRecordReader,
        decoder=tfrecord.slim_decoder(split.channels),
        num_samples=split.num_samples,
        items_to_descriptions={
            "image": f"A picture with {split.channels} channels.",
            "label": f"Its class, from 0 to {split.num_classes - 1}.",
        },
        num_classes=split.num_classes,
        labels_to_names=dict(enumerate(split.class_names)),
    )
