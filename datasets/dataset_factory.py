"""The datasets that are known by name: who converts them, and what research/slim's files look like.

A dataset of the user's own needs no entry: any other name with --image_dir is a folder of pictures.
"""

import dataclasses
import fnmatch
import glob

from core.registry import Registry


@dataclasses.dataclass(frozen=True)
class Known:
    """Facts about a dataset that a name alone tells.

    The file patterns and class counts are those of research/slim, for data without dataset.json.
    """

    converter: str = "datasets.image_folder:source"  # where its source function stands
    file_patterns: tuple[str, ...] = ("{name}_{split}.tfrecord", "{name}_{split}_*.tfrecord")
    num_classes: int = 0  # 0: labels.txt tells
    channels: int = 3

    @property
    def downloads(self) -> bool:
        """Whether the name brings its own pictures, so that no folder has to be given."""
        return self.converter != Known.converter

    def matches(self, file: str, name: str, split: str) -> bool:
        """Whether a file name is that of a record file of a split."""
        parts = {"name": glob.escape(name), "split": glob.escape(split)}
        return any(
            fnmatch.fnmatchcase(file, pattern.format(**parts)) for pattern in self.file_patterns
        )


DATASETS = Registry(
    "Name of dataset unknown %s",
    {
        "cifar10": Known("datasets.cifar10:source", num_classes=10),
        "mnist": Known("datasets.mnist:source", num_classes=10, channels=1),
        "phase_diagrams": Known("datasets.phase_diagrams:source", num_classes=2),
        "flowers": Known(num_classes=5),
        "imagenet": Known(file_patterns=("{split}-*",), num_classes=1001),
        "visualwakewords": Known(file_patterns=("{split}.record-*",), num_classes=2),
    },
)
