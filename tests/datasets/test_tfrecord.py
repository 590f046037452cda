import contextlib
import io
import os

import numpy as np
import PIL.Image
import pytest

from core import files
from core.compat import tf
from core.errors import MachineError
from datasets import records, tfrecord
from datasets.spec import Example, Shard


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def parsed(serialized, channels=3):
    """(pixels, label, filename) of one serialized record."""
    with tf.Graph().as_default(), tf.Session() as session:
        record = tfrecord.parse(tf.constant(serialized))
        image = tfrecord.decode(record.encoded, channels)
        return session.run((image, record.label, record.filename))


@pytest.mark.parametrize(("shape", "channels"), [((5, 7, 3), 3), ((7, 5), 1)])
def test_a_picture_survives_being_written_and_read(png, shape, channels):
    pixels = noise(*shape)
    example = Example(png(pixels), "png", *shape[:2], 2, b"a/\xff.png")
    image, label, filename = parsed(tfrecord.serialize(example), channels)
    assert image.dtype == np.uint8
    assert image.shape == (*shape[:2], channels)
    assert (image.squeeze() == pixels).all()
    assert (label, filename) == (2, b"a/\xff.png")


def test_the_keys_are_those_of_research_slim_and_a_file_name():
    example = Example(b"content", "jpeg", 5, 7, 2, b"a.jpg")
    feature = tf.train.Example.FromString(tfrecord.serialize(example)).features.feature
    values = {
        key: list(getattr(value, value.WhichOneof("kind")).value) for key, value in feature.items()
    }
    assert values == {
        "image/encoded": [b"content"],
        "image/format": [b"jpeg"],
        "image/class/label": [2],
        "image/height": [5],
        "image/width": [7],
        "image/filename": [b"a.jpg"],
    }
    assert feature["image/class/label"].WhichOneof("kind") == "int64_list"


def of_research_slim(**changes):
    """A record with the five features that research/slim's image_to_tfexample writes."""
    as_bytes = {"encoded": b"", "format": b"png"} | {
        key: value for key, value in changes.items() if isinstance(value, bytes)
    }
    as_int = {"class/label": 4, "height": 4, "width": 6}
    record = tf.train.Example()
    for key, value in as_bytes.items():
        record.features.feature[f"image/{key}"].bytes_list.value.append(value)
    for key, value in as_int.items():
        record.features.feature[f"image/{key}"].int64_list.value.append(value)
    return record


def test_a_record_of_research_slim_is_read_and_has_an_empty_file_name(png):
    pixels = noise(4, 6, 3)
    image, label, filename = parsed(of_research_slim(encoded=png(pixels)).SerializeToString())
    assert (image == pixels).all()
    assert (label, filename) == (4, b"")


@pytest.mark.parametrize("key", ["image/encoded", "image/class/label"])
def test_a_missing_key_fails_rather_than_being_made_up(png, key):
    record = of_research_slim(encoded=png(noise(4, 6, 3)))
    del record.features.feature[key]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{key}.*required"):
        parsed(record.SerializeToString())


def test_a_label_of_another_type_fails(png):
    record = of_research_slim(encoded=png(noise(4, 6, 3)))
    record.features.feature["image/class/label"].float_list.value.append(4.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/class/label"):
        parsed(record.SerializeToString())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_pictures_of_each_format_are_decoded_with_the_channels_asked_for(kind):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (6, 4), (250, 120, 10)).save(buffer, kind)
    image, _, _ = parsed(of_research_slim(encoded=buffer.getvalue()).SerializeToString())
    assert image.shape == (4, 6, 3)
    assert np.abs(image.astype(int) - [250, 120, 10]).max() <= 4  # JPEG and WebP are lossy


def test_of_an_animation_the_first_picture_is_read():
    buffer = io.BytesIO()
    first, second = (PIL.Image.new("RGB", (6, 4), colour) for colour in ("red", "blue"))
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    image, _, _ = parsed(of_research_slim(encoded=buffer.getvalue()).SerializeToString())
    assert image.shape == (4, 6, 3)
    assert (image == [255, 0, 0]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_channels_are_known_to_the_graph_and_the_size_is_not(channels):
    with tf.Graph().as_default():
        image = tfrecord.decode(tf.placeholder(tf.string, []), channels)
    assert image.dtype == tf.uint8
    assert image.shape.as_list() == [None, None, channels]


def test_encode_png_keeps_order_and_every_pixel():
    # More than fit one round trip, which holds 500; the second stack begins another one.
    pictures = noise(1103, 3, 2, 3)
    decoded = [
        np.asarray(PIL.Image.open(io.BytesIO(encoded), formats=["PNG"]))
        for encoded in tfrecord.encode_png([pictures[:703], pictures[703:]])
    ]
    assert np.array_equal(decoded, pictures)


def test_encode_png_keeps_grey_pictures_grey():
    pictures = noise(2, 5, 4, 1)
    images = [PIL.Image.open(io.BytesIO(encoded)) for encoded in tfrecord.encode_png([pictures])]
    assert [image.mode for image in images] == ["L", "L"]
    assert np.array_equal([np.asarray(image) for image in images], pictures[..., 0])


def test_encode_png_of_no_pictures():
    assert list(tfrecord.encode_png([noise(0, 5, 4, 3)])) == []


def test_encode_png_takes_few_stacks_ahead():
    taken = []

    def stacks():
        for number in range(200):
            taken.append(number)
            yield noise(1, 2, 2, 3)

    encoded = tfrecord.encode_png(stacks())
    next(encoded)
    encoded.close()
    assert 1 <= len(taken) <= 2 * os.cpu_count() + 1


def test_of_the_records_of_a_file_those_of_some_numbers_are_read(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for content in (b"", b"one", b"second", b"3"):
            writer.write(content)
    found = list(tfrecord.read(tmp_path / "file", {3, 1, 7}))
    # A frame is 16 bytes.
    assert found == [records.Record(1, 16, b"one"), records.Record(3, 16 + 19 + 22, b"3")]
    assert list(tfrecord.read(tmp_path / "file", [])) == []


def test_a_shard_writer_counts_what_it_writes(tmp_path):
    path = tmp_path / "shard"
    writer = tfrecord.ShardWriter(path)
    for length in (0, 10, 1000):
        writer.write(Example(b"x" * length, "png", 1, 1, 0))
    writer.close()
    assert writer.records == records.count(path) == 3
    assert writer.bytes == path.stat().st_size
    digest = files.sha256(path)
    assert writer.shard("name", digest) == Shard("name", 3, path.stat().st_size, digest)


def test_a_shard_without_records_is_an_empty_file(tmp_path):
    writer = tfrecord.ShardWriter(tmp_path / "shard")
    writer.close()
    assert (writer.records, writer.bytes, (tmp_path / "shard").stat().st_size) == (0, 0, 0)


@pytest.mark.parametrize("length", [100, 100_000])
def test_a_shard_that_does_not_reach_the_disk_is_an_error(tmp_path, no_file_beyond, length):
    # The shorter one stays in TensorFlow's buffer, so that only closing can notice.
    writer = tfrecord.ShardWriter(tmp_path / "shard")
    with no_file_beyond(50):
        with contextlib.suppress(tf.errors.OpError):
            writer.write(Example(b"x" * length, "png", 1, 1, 0))
        with pytest.raises(MachineError, match=r"only \d+ of \d+ bytes .*shard\) - is the disk"):
            writer.close()
