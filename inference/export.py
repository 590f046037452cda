"""Exporting a checkpoint: one file or directory that has all it takes to classify."""

import contextlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from absl import logging

import datasets
from core import files
from core.compat import tf
from core.errors import DataError, DivergedError, FlagError, MachineError
from core.registry import load
from datasets import tfrecord
from datasets.dataset_factory import DATASETS
from engine import checkpoints, model, run_dir
from inference import pictures, predictor, source
from inference.formats import FORMATS
from inference.predictor import Predictor
from inference.source import Source
from nets.nets_factory import NETS

LARGEST_DIFFERENCE = 1e-4  # of a probability, from the checkpoint's
_SAMPLES = 16
_CALIBRATION_PICTURES = 200  # TensorFlow's guide asks for 100 to 500
_ACCURACY_PICTURES = 2000  # one in two thousand is half the last digit that is printed


class Report(NamedTuple):
    """What is known of an export."""

    path: Path
    bytes: int
    difference: float  # largest of a probability from the checkpoint's, on the sample pictures


def export(config: Any) -> Report:
    """Writes --output_file and tries it; it appears when it is complete and has passed.

    Args:
        config: read here: checkpoint_path, format, output_file, quantize, calibration_images, and
            what `_run_of` reads.

    Raises:
        FlagError: something stands there already, or a flag contradicts another or the run.
        CheckpointError: the checkpoint cannot be read.
        DivergedError: the export gives other probabilities than the checkpoint.
        MachineError: the disk is full, or a library is not installed.
    """
    path = _new_path(config, FORMATS[config.format].ending)
    exported = source.read(config.checkpoint_path, _run_of(config), _machine(config))
    calibration = _calibration(exported, config) if config.quantize else []
    files.make_directory(path.parent)
    sums = Path(f"{path}{predictor.SUMS}")
    for written in (path, sums):
        files.sweep_path(written)
    with _removed_on_failure(sums), files.atomic_new(path) as temporary:
        try:
            load(FORMATS[config.format].write)(exported, temporary, calibration)
        except (tf.errors.OpError, OSError) as error:
            raise MachineError(
                f"cannot write the export: {checkpoints.reason(error)}",
                where=str(path),
                remedy="see to the disk and its permissions",
            ) from None
        opened = predictor.open_model(str(temporary), _machine(config))
        with contextlib.closing(opened):
            difference = _difference(opened, exported)
            if config.quantize:
                _tell_accuracy(opened, exported, config)
        if not config.quantize and difference > LARGEST_DIFFERENCE:
            raise DivergedError(
                f"the export differs by {difference:.2g} from the checkpoint in a probability",
                where=exported.checkpoint,
                remedy="report it; nothing was written",
            )
        size = sum(file.stat().st_size for file in (temporary, *temporary.rglob("*")))
        if temporary.is_file():
            line = f"{files.sha256(temporary)}  {path.name}\n"
            files.write_text(sums, line)
    return Report(path, size, difference)


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    """Removes a file if the block fails."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_graph(config: Any) -> Path:
    """Writes a net's GraphDef without weights, as research/slim does.

    Its placeholder `input` takes prepared pictures.

    Args:
        config: read here: output_file, write_text_graphdef, is_training, batch_size, image_size,
            use_grayscale, and what `_run_of` reads.
    """
    path = _new_path(config, "")
    run = _run_of(config)
    with tf.Graph().as_default() as the_graph:
        channels = 1 if run.use_grayscale else run.channels
        images = tf.placeholder(
            tf.float32, [config.batch_size, run.image_size, run.image_size, channels], name="input"
        )
        model.build_net(images, run.num_classes, run, is_training=config.is_training)
    content = the_graph.as_graph_def()
    files.make_directory(path.parent)
    with files.atomic_write(path, binary=True) as file:
        is_text = config.write_text_graphdef
        file.write(str(content).encode() if is_text else content.SerializeToString())
    return path


def _new_path(config: Any, ending: str) -> Path:
    if not config.output_file:
        raise FlagError("You must supply the path to save to with --output_file")
    path = Path(config.output_file)
    if ending and path.suffix != ending:
        raise FlagError(f"a file of this format ends in {ending}", where=config.output_file)
    endings = {format_.ending for format_ in FORMATS.values()} - {""}
    if config.checkpoint_path and not ending and path.suffix in endings:
        raise FlagError("this format is a directory", where=config.output_file)
    if path.exists():
        raise FlagError(
            "exists already", where=config.output_file, remedy="remove it, or pass another name"
        )
    return path


def _machine(config: Any) -> predictor.Machine:
    return predictor.Machine(config.inter_op_threads, config.intra_op_threads, config.master)


def _run_of(config: Any) -> run_dir.Run:
    """The run that run.json describes, or if there is none, that the flags describe.

    Args:
        config: read here: checkpoint_path, image_size, dataset_name, dataset_dir, and the flags of
            the group "Model".

    Raises:
        FlagError: a flag contradicts run.json, or the flags do not tell the classes.
    """
    if config.checkpoint_path:
        place = run_dir.place_of(config.checkpoint_path)
        run = run_dir.read(place)
        if run is not None:
            names = (
                *("model_name", "preprocessing_name", "image_size", "labels_offset"),
                *("use_grayscale", "depth_multiplier", "stem_stride", "head_units"),
            )
            run_dir.check_agrees(config, {name: getattr(run, name) for name in names}, place)
            return run
        checkpoints.candidates(config.checkpoint_path)  # a mistyped path is to be told first
    NETS[config.model_name]
    class_names, channels = _classes(config)
    run = run_dir.Run(
        dataset_name=config.dataset_name,
        dataset_dir=config.dataset_dir,
        model_name=config.model_name,
        preprocessing_name=config.preprocessing_name or NETS[config.model_name].preprocessing,
        image_size=config.image_size or model.default_image_size(config.model_name),
        channels=channels,
        use_grayscale=config.use_grayscale,
        class_names=class_names,
        labels_offset=config.labels_offset,
        moving_average_decay=None,
        max_number_of_steps=None,
        depth_multiplier=config.depth_multiplier,
        stem_stride=config.stem_stride,
        head_units=config.head_units,
    )
    run_dir.check_num_classes(run)
    return run


def _classes(config: Any) -> tuple[tuple[str, ...], int]:
    """Class names and channels of --dataset_name; numbers, if there are no data."""
    if config.dataset_dir:
        dataset = datasets.load(config.dataset_dir, config.dataset_name, "train")
        return dataset.class_names, dataset.channels
    known = DATASETS[config.dataset_name]
    if not known.num_classes:
        raise FlagError(
            f"nothing tells the classes of {config.dataset_name}", remedy="pass --dataset_dir"
        )
    return tuple(map(str, range(known.num_classes))), known.channels


def _difference(opened: Predictor, exported: Source) -> float:
    """The largest difference of a probability from the checkpoint's, on sample pictures."""
    samples = sample_pictures(exported.run.channels)
    expected = exported.probabilities(samples)
    return float(np.abs(opened.probabilities(samples) - expected).max())


def sample_pictures(channels: int) -> list[bytes]:
    """PNG files of smooth, noisy pictures of several sizes and shapes, always the same."""
    noise = np.random.RandomState(0)
    found = []
    for number in range(_SAMPLES):
        size = (24 + 16 * number, 264 - 16 * number)
        coarse = noise.randint(0, 256, (4, 4, 3)).astype(np.uint8)
        smooth = PIL.Image.fromarray(coarse).resize(size, PIL.Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth) + noise.normal(0, 8, (size[1], size[0], 3))
        picture = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        (picture.convert("L") if channels == 1 else picture).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found


def _calibration(exported: Source, config: Any) -> list[bytes]:
    """The pictures that show int8 the range of each layer."""
    if config.calibration_images:
        found = pictures.find(config.calibration_images)[:_CALIBRATION_PICTURES]
        read = (pictures.read(p, config.max_file_mb, config.max_image_pixels) for p in found)
        encoded = [content.encoded for content in read if not content.problem]
    else:
        encoded = [image for image, _ in _records(exported, config, "train", _CALIBRATION_PICTURES)]
    if not encoded:
        raise DataError("no readable picture to calibrate with", where=config.calibration_images)
    return encoded


def _tell_accuracy(opened: Predictor, exported: Source, config: Any) -> None:
    """Prints the accuracy of an export on the test split, and that of the checkpoint."""
    try:
        records = _records(exported, config, "test", _ACCURACY_PICTURES)
    except (FlagError, DataError) as error:
        logging.warning("No accuracy of the export: %s", error)
        return
    encoded = [image for image, _ in records]
    labels = np.array([label for _, label in records]) - exported.run.labels_offset

    def accuracy(model: Predictor) -> float:
        batches = (encoded[start : start + 50] for start in range(0, len(encoded), 50))
        found = np.concatenate([model.probabilities(batch).argmax(axis=1) for batch in batches])
        return float(np.mean(found == labels))

    with contextlib.closing(predictor.of_source(exported, _machine(config))) as before:
        print(
            f"accuracy on {len(labels)} pictures of the test split: {accuracy(opened):.4f} "
            f"(of the checkpoint: {accuracy(before):.4f})"
        )


def _records(exported: Source, config: Any, split: str, limit: int) -> list[tuple[bytes, int]]:
    """Pictures and labels of the data of a run, from the beginning of a split."""
    directory = config.dataset_dir or exported.run.dataset_dir
    dataset = datasets.load(directory, exported.run.dataset_name, split)
    records = (record for path in dataset.paths for record in tfrecord.read(Path(path)))
    return [
        tfrecord.picture_and_label(record.content) for record in itertools.islice(records, limit)
    ]
