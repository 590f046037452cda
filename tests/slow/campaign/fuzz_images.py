"""Image files that are damaged on purpose: either a picture that TensorFlow reads, or refused."""

import collections
import csv
import io
import itertools
import random
import re
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import PIL.Image

from core.compat import tf
from core.errors import DataError
from datasets import images, tfrecord
from tests.slow.campaign.processes import CONVERT, Script
from tests.slow.campaign.trials import Failed, Row, Trial, fork

FILES = 100  # per trial
FOLDERS = 10  # one trial in so many also converts its files as a folder
PATIENCE = 5.0  # seconds for one file
MEMORY = 2 << 30  # bytes that reading may take beyond what TensorFlow has

_STATUS = Path("/proc/self/status")
_SIZE = (23, 17)  # width, height
_ENDINGS = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "BMP": "bmp", "WebP": "webp", "TIFF": "tif"}


@cache
def seeds() -> dict[str, list[bytes]]:
    """Some 40 small pictures by format: all pixel types, compressions, frames, orientations."""
    noise = np.random.RandomState(0)
    rgb = PIL.Image.fromarray(noise.randint(0, 256, (*_SIZE[::-1], 3)).astype(np.uint8))
    rgba = PIL.Image.fromarray(noise.randint(0, 256, (*_SIZE[::-1], 4)).astype(np.uint8))
    grey, palette, cmyk = rgb.convert("L"), rgb.quantize(16), rgb.convert("CMYK")
    deep = PIL.Image.fromarray(noise.randint(0, 2**16, _SIZE[::-1]).astype(np.uint16))
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    several = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    found: dict[str, list[bytes]] = collections.defaultdict(list)

    def add(kind: str, picture: PIL.Image.Image, **options: object) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found[kind].append(buffer.getvalue())

    for picture in (rgb, rgba, grey, palette, deep, rgb.convert("1"), rgba.convert("LA")):
        add("PNG", picture)
    add("PNG", palette, transparency=3)
    add("PNG", rgb, transparency=(1, 2, 3))
    add("PNG", deep, transparency=7)
    add("PNG", rgb, **several)
    add("PNG", rgb, exif=turned)
    for picture in (rgb, grey, cmyk):
        add("JPEG", picture)
        add("JPEG", picture, progressive=True)
    add("JPEG", rgb, subsampling="4:4:4", optimize=True)
    add("JPEG", rgb, exif=turned)
    add("JPEG", rgb, comment=b"made for a test", restart_marker_rows=1)
    add("GIF", palette)
    add("GIF", palette, transparency=3)
    add("GIF", rgb, **several)
    add("GIF", grey, interlace=0)
    for picture in (rgb, rgba, grey, palette, rgb.convert("1")):
        add("BMP", picture)
    for picture in (rgb, rgba):
        add("WebP", picture)
        add("WebP", picture, lossless=True)
    add("WebP", rgb, **several)
    for picture in (rgb, rgba, grey, palette, cmyk, deep):
        add("TIFF", picture)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        add("TIFF", rgb, compression=compression)
    add("TIFF", rgb, **several)
    return dict(found)


def _parts(data: bytes, kind: str) -> list[slice]:
    """The chunks, segments or, where a format has none that are simple to tell, stretches."""
    if kind == "PNG":
        starts, at = [8], 8
        while at + 12 <= len(data):
            at += 12 + int.from_bytes(data[at : at + 4], "big")
            starts.append(min(at, len(data)))
    elif kind == "JPEG":
        starts = [i for i in range(len(data) - 1) if data[i] == 0xFF and data[i + 1] >= 0xC0]
    else:
        starts = list(range(0, len(data), max(8, len(data) // 12)))
    return [slice(a, b) for a, b in itertools.pairwise([*starts, len(data)])]


def _sizes(data: bytes, kind: str) -> list[tuple[int, str]]:
    """Where the header says width and height, and in which form."""
    if kind == "JPEG":
        frames = [i for i in range(len(data) - 9) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2")]
        return [(at + offset, ">H") for at in frames for offset in (5, 7)]
    if kind == "TIFF":  # wherever a word has one of the two values
        return [
            (at, "<H")
            for at in range(len(data) - 1)
            if struct.unpack_from("<H", data, at)[0] in _SIZE
        ]
    form = {"PNG": ">I", "GIF": "<H", "BMP": "<i", "WebP": "<H"}[kind]
    at = {"PNG": (16, 20), "GIF": (6, 8), "BMP": (18, 22), "WebP": (24, 27)}[kind]
    return [(place, form) for place in at]


def _with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks all have the checksums of what they hold."""
    for part in _parts(bytes(data), "PNG"):
        if part.stop - part.start >= 12:
            checksum = zlib.crc32(data[part.start + 4 : part.stop - 4])
            struct.pack_into(">I", data, part.stop - 4, checksum)
    return data


def flip_bits(data: bytearray, chance: random.Random) -> bytearray:
    """One bit flipped, or a few."""
    for _ in range(chance.choice((1, 1, 2, 8, 50))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def overwrite(data: bytearray, chance: random.Random) -> bytearray:
    """A stretch overwritten."""
    at = chance.randrange(len(data))
    length = chance.randint(1, 40)
    data[at : at + length] = chance.choice((chance.randbytes(length), b"\xff" * length))
    return data


def cut(data: bytearray, chance: random.Random) -> bytearray:
    """The end cut off."""
    return data[: chance.choice((chance.randrange(len(data)), len(data) - chance.randint(1, 12)))]


def mutated(chance: random.Random) -> tuple[str, bytes]:
    """A damaged picture, and the ending of the name it may go under."""
    kind = chance.choice(sorted(seeds()))
    data = bytearray(chance.choice(seeds()[kind]))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        match chance.randrange(7) if data else 0:
            case 0:
                data += chance.randbytes(chance.randint(1, 100))
            case 1:
                data = flip_bits(data, chance)
            case 2:
                data = overwrite(data, chance)
            case 3:
                data = cut(data, chance)
            case 4 | 5:
                parts = _parts(bytes(data), kind) or [slice(0, len(data))]
                one, other = chance.choice(parts), chance.choice(parts)
                first = bytes(data[one])
                data[one] = data[other] if chance.random() < 0.5 else first + first
            case 6:
                values = (0, 1, 255, 256, 8191, 2**15 - 1, 2**31 - 1, chance.randrange(2**16))
                for at, form in _sizes(bytes(data), kind):
                    limit = 256 ** struct.calcsize(form) // (2 if form.islower() else 1)
                    if chance.random() < 0.5 and at + struct.calcsize(form) <= len(data):
                        struct.pack_into(form, data, at, chance.choice(values) % limit)
    if kind == "PNG" and chance.random() < 0.7:  # or most would be refused for their checksums
        data = _with_checksums(data)
    return _ENDINGS[chance.choice((kind, chance.choice(sorted(_ENDINGS))))], bytes(data)


def bombs() -> Iterator[bytes]:
    """Headers that promise gigabytes, one of each format; TensorFlow's limit is above some."""
    for kind, examples in seeds().items():
        data = bytearray(examples[0])
        for at, form in _sizes(bytes(data), kind):
            limit = 256 ** struct.calcsize(form) // 2 - 1
            struct.pack_into(form, data, at, min(limit, 50_000) if kind != "WebP" else 16_000)
        yield bytes(_with_checksums(data) if kind == "PNG" else data)


def _examine(files: list[bytes], max_pixels: int, answers: Connection) -> None:
    """In a process of its own: reads each file, and tells what came of it and the seconds."""
    limit = MEMORY + 1024 * int(re.search(r"VmSize:\s*(\d+)", _STATUS.read_text())[1])
    with tf.Graph().as_default(), tf.Session() as session:
        encoded = tf.placeholder(tf.string, [])
        decoded = [tfrecord.decode(encoded, channels) for channels in (1, 3)]
        session.run(decoded, {encoded: seeds()["PNG"][0]})  # its threads come before the limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        answers.send(None)
        for data in files:
            started = time.monotonic()
            try:
                image = images.load(data, max_pixels)
                what = "read"
            except DataError as error:
                what = f"refused: {error.what}"
            seconds = time.monotonic() - started
            if what == "read":
                what = _compare(image, partial(session.run, decoded, {encoded: image.encoded}))
            answers.send((what, seconds))


def _compare(image: images.EncodedImage, decode: Callable[[], list[np.ndarray]]) -> str:
    """What a picture that was read is to TensorFlow."""
    try:
        shapes = {picture.shape[:2] for picture in decode()}
    except tf.errors.OpError as error:
        reason = re.search(r"(?:Node: .*\n)?(.+)\n\t \[\[", error.message)
        return f"TensorFlow does not decode it: {reason[1] if reason else error.message}"
    if shapes != {(image.height, image.width)}:
        return f"TensorFlow decodes {shapes} of {image[1:]}"
    return "read"


def examine(
    trial: Trial, files: list[bytes], max_pixels: int = images.MAX_PIXELS
) -> list[tuple[str, float]]:
    """What becomes of each file, and the seconds that took.

    Args:
        trial: whose files they are.
        files: their contents.
        max_pixels: as a conversion takes it.

    Raises:
        Failed: a file makes the process hang, die or raise anything but DataError; it is kept.
    """
    answers, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_examine, args=(files, max_pixels, theirs))
    process.start()
    theirs.close()
    results: list[tuple[str, float]] = []
    try:
        answers.recv() if answers.poll(60) else None
        for _ in files:
            if not answers.poll(PATIENCE):
                raise Failed("hang", f"file {len(results)} took more than {PATIENCE} s")
            results.append(answers.recv())
    except EOFError:
        process.join()
        last = (trial.directory / "trial.log").read_text(errors="replace").strip().splitlines()[-1:]
        kind = "traceback" if process.exitcode == 1 else "exit code"
        raise Failed(kind, f"file {len(results)}: {process.exitcode}, {last}") from None
    finally:
        if len(results) < len(files):
            (trial.directory / "culprit").write_bytes(files[len(results)])
        process.kill()
        process.join()
    return results


def fuzzed(trial: Trial) -> None:
    """A hundred damaged files; now and then they are converted as a folder, too."""
    made = [mutated(trial.random) for _ in range(FILES)]
    contents = [content for _, content in made]
    if trial.number == 0:
        _check_bombs(trial)
    results = examine(trial, contents)
    refused = [number for number, (what, _) in enumerate(results) if what.startswith("refused")]
    trial.checked["refused"] += len(refused)
    trial.checked["read"] += FILES - len(refused)
    for number, (what, _) in enumerate(results):
        if number not in refused and not trial.expect(what == "read", "lost", what):
            (trial.directory / f"culprit-{number}").write_bytes(contents[number])
    if trial.number % FOLDERS == FOLDERS - 1:
        _convert(trial, made, refused)


def _check_bombs(trial: Trial) -> None:
    for what, seconds in examine(trial, list(bombs())):
        trial.expect(what.startswith("refused"), "lost", f"a bomb was {what}")
        trial.slowest = max(trial.slowest, seconds)
        trial.checked["bombs"] += 1


def _convert(trial: Trial, made: list[tuple[str, bytes]], refused: list[int]) -> None:
    folder, directory = trial.directory / "folder", trial.directory / "data"
    for number, (ending, content) in enumerate(made):
        path = folder / f"class{number % 2}" / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("class0", "class1"):  # whole ones, so that no class and no split is empty
        for number in range(20):
            pixels = np.full((4, 4, 3), number + 100 * (name == "class1"), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / name / f"whole{number}.png")
    script = Script(
        *(trial, CONVERT, "--dataset_name=fuzz", f"--image_dir={folder}"),
        *(f"--dataset_dir={directory}", "--on_bad_image=skip", "--max_bad_fraction=1"),
    )
    script.finish({0})
    with (directory / "skipped.csv").open(newline="") as file:
        skipped = {int(Path(row["path"]).stem) for row in csv.DictReader(file)}
    what = f"skipped {sorted(skipped)}, expected {refused}"
    trial.expect(skipped == set(refused), "lost", what)
    trial.checked["folders"] += 1


ROWS = (Row("images", fuzzed, 100),)
