"""What tests of several packages share: a small dataset, scripts as processes, a full disk."""

import contextlib
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    """The root of the project."""
    return ROOT


@pytest.fixture(scope="session")
def png():
    """png(pixels) is a PNG file of uint8 [height, width] or [height, width, 3]."""

    def png(pixels):
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return png


@pytest.fixture(scope="session")
def no_file_beyond():
    """Within `with no_file_beyond(size):`, writing beyond that size fails as on a full disk."""

    @contextlib.contextmanager
    def no_file_beyond(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return no_file_beyond


@pytest.fixture(scope="session")
def run_script():
    """run_script(name, *arguments, **options of subprocess.run) runs a script of the project."""

    def run_script(name, *arguments, **options):
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        settings = {"capture_output": True, "text": True, "timeout": 200, "env": environment}
        return subprocess.run(command, **(settings | options))

    return run_script


@pytest.fixture(scope="session")
def failure():
    """failure(script, *arguments) runs its main in this process, which is to fail.

    Gives the exit code and the line that the process would have ended with.
    """
    from core.flags import parse
    from core.script import classified

    def failure(script, *arguments):
        with pytest.raises(Exception) as error:  # noqa: PT011 - told by its code and its line
            script.main(parse(script.define, list(map(str, arguments))))
        known = classified(error.value)
        assert known, error.value
        return known.exit_code, str(known)

    return failure


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory, png):
    """Directory of the dataset "tiny", to read only: 3 classes of coloured noise, 16x12 pixels.

    Of the 20 pictures of each class, 12 are in train, 4 in validation and 4 in test; each split
    has two record files, and its labels go round: 0, 1, 2, 0, ...
    """
    from datasets import conversion
    from datasets.spec import Example

    def examples():
        noise = np.random.RandomState(0)
        for split, count in (("train", 36), ("validation", 12), ("test", 12)):
            for number in range(count):
                label = number % 3
                pixels = noise.randint(0, 128, (16, 12, 3)).astype(np.uint8)
                pixels[..., label] += 128
                name = f"{split}/{number}.png".encode()
                yield split, Example(png(pixels), "png", 16, 12, label, name)

    directory = tmp_path_factory.mktemp("tiny")
    source = conversion.Source(("red", "green", "blue"), {}, examples, num_shards=2)
    conversion.convert("tiny", source, str(directory))
    return directory


@pytest.fixture(scope="session")
def colour_run(tiny_dataset, tmp_path_factory):
    """Directory of a run, to read only: a LeNet on 8x8 pixels that has learned `tiny_dataset`."""
    import train_image_classifier
    from core import flags as core_flags
    from engine import flags

    directory = tmp_path_factory.mktemp("colour_run")
    arguments = [
        *(f"--train_dir={directory}", f"--dataset_dir={tiny_dataset}", "--dataset_name=tiny"),
        *("--model_name=lenet", "--train_image_size=8", "--batch_size=8"),
        *("--max_number_of_steps=60", "--optimizer=adam", "--learning_rate=0.001"),
    ]
    train_image_classifier.main(core_flags.parse(flags.define_training, arguments))
    return directory


@pytest.fixture(scope="session")
def colour_folder(tmp_path_factory, png):
    """Folder of pictures of the classes of `colour_run`, to read only: class/0.png to 3.png."""
    directory = tmp_path_factory.mktemp("colours")
    noise = np.random.RandomState(1)
    for label, name in enumerate(("red", "green", "blue")):
        (directory / name).mkdir()
        for number in range(4):
            pixels = noise.randint(0, 128, (16, 12, 3)).astype(np.uint8)
            pixels[..., label] += 128
            (directory / name / f"{number}.png").write_bytes(png(pixels))
    return directory
