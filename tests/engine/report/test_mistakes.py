import re
from pathlib import Path

import numpy as np
import pytest

import datasets
from core import flags as core_flags
from core.compat import tf
from core.errors import DataError
from datasets import conversion
from datasets.spec import Example
from engine import flags, input_pipeline
from engine.report import mistakes
from engine.report.mistakes import Mistake
from engine.scores import Scores


@pytest.fixture
def settings():
    """settings("--flag=value", ...) is the configuration of an evaluation at 8 pixels."""

    def settings(*arguments):
        given = ["--preprocessing_name=lenet", "--eval_image_size=8", *arguments]
        return core_flags.parse(flags.define_evaluation, given)

    return settings


@pytest.fixture
def converted(tmp_path, png):
    """converted(pixels, ...) is the test split of a dataset of such pictures, in one file."""

    def converted(*pictures):
        def examples():
            yield "train", Example(png(pictures[0]), "png", *pictures[0].shape[:2], 0)
            for pixels in pictures:
                yield "test", Example(png(pixels), "png", *pixels.shape[:2], 0)

        channels = 1 if pictures[0].ndim == 2 else 3
        source = conversion.Source(("only",), {}, examples, channels=channels, num_shards=1)
        conversion.convert("pictures", source, str(tmp_path))
        return datasets.load(tmp_path, "pictures", "test")

    return converted


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def damage(split, old, new):
    """Puts other bytes of the same number in the place of the only ones in a split's file."""
    (path,) = map(Path, split.paths)
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return str(path)


# Softmax of (0, log 3) is 1/4 and 3/4, of (log 9, 0) is 9/10 and 1/10.
LOGITS = np.log([[1, 3], [9, 1], [3, 1], [1, 3], [1, 9], [1, 3], [3, 1]]).astype(np.float32)
LABELS = np.array([0, 1, 0, 0, 0, 1, 1])  # right are 2 and 5


def test_the_most_confident_mistakes_come_first_and_of_equal_ones_the_lower_record():
    scores = Scores(2)
    scores.add(LOGITS[:4], LABELS[:4], [b"a.png", b"b.png", b"c.png", b""])
    scores.add(LOGITS[4:], LABELS[4:], [b"e.png", b"f.png", b"g.png"])
    found = mistakes.most_confident(scores, 10)
    assert [mistake._replace(probability=0) for mistake in found] == [
        Mistake(1, "b.png", 1, 0, 0),
        Mistake(4, "e.png", 0, 1, 0),
        Mistake(0, "a.png", 0, 1, 0),
        Mistake(3, "record 3", 0, 1, 0),
        Mistake(6, "g.png", 1, 0, 0),
    ]
    probabilities = [mistake.probability for mistake in found]
    assert probabilities == pytest.approx([0.9, 0.9, 0.75, 0.75, 0.75])
    assert mistakes.most_confident(scores, 3) == found[:3]


def test_a_classifier_without_mistakes():
    scores = Scores(2)
    scores.add(LOGITS, LOGITS.argmax(axis=1))
    assert mistakes.most_confident(scores, 5) == []


def test_pictures_of_several_record_files_come_in_the_order_asked_for(tiny_dataset):
    split = datasets.load(tiny_dataset, "tiny", "train")
    assert [shard.records for shard in split.shards] == [18, 18]
    every = []
    for path in split.paths:
        for serialized in tf.io.tf_record_iterator(path):
            feature = tf.train.Example.FromString(serialized).features.feature
            every.append(feature["image/encoded"].bytes_list.value[0])
    assert len(set(every)) == 36
    indices = [35, 0, 17, 18, 0, 5]
    assert mistakes.encoded_pictures(split, indices) == [every[index] for index in indices]
    assert mistakes.encoded_pictures(split, []) == []


def test_of_damaged_records_only_those_asked_for_matter(converted, png):
    pictures = noise(3, 6, 5, 3)
    split = converted(*pictures)
    middle = png(pictures[1])
    path = damage(split, middle, middle[:-1] + b"!")
    assert mistakes.encoded_pictures(split, [2, 0]) == [png(pictures[2]), png(pictures[0])]
    where = rf"checksum \({re.escape(path)}: record 1, offset \d+\) - convert"
    with pytest.raises(DataError, match=where):
        mistakes.encoded_pictures(split, [2, 1])


def test_records_that_are_no_longer_there(converted):
    split = converted(*noise(3, 6, 5, 3))
    (path,) = split.paths
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    Path(path).write_bytes(content[: 16 + length])
    mistakes.encoded_pictures(split, [0])
    where = rf"missing \({re.escape(path)}: record 2, offset {16 + length}\)"
    with pytest.raises(DataError, match=where):
        mistakes.encoded_pictures(split, [2])
    Path(path).write_bytes(content[: 20 + length])
    where = rf"truncated \({re.escape(path)}: record 1, offset {16 + length}\)"
    with pytest.raises(DataError, match=where):
        mistakes.encoded_pictures(split, [2])


def test_a_record_that_holds_no_picture(converted):
    split = converted(*noise(1, 6, 5, 3))
    (path,) = split.paths
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(DataError, match=rf"has keys \[\].*{re.escape(path)}: record 0, offset 0"):
        mistakes.encoded_pictures(split, [0])


def test_a_picture_that_cannot_be_decoded(converted, settings):
    split = converted(*noise(2, 6, 5, 3))
    (path,) = split.paths
    records = list(tf.io.tf_record_iterator(path))
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(records[0])
        writer.write(records[1].replace(b"IHDR", b"IHDX"))
    with pytest.raises(DataError, match=rf"{re.escape(path)}: record 1, offset \d+"):
        mistakes.decoded(split, [1], settings())


@pytest.mark.parametrize("shape", [(7, 5, 3), (4, 6)])
def test_a_small_picture_is_decoded_as_it_is(converted, settings, shape):
    pictures = noise(2, *shape)
    found = mistakes.decoded(converted(*pictures), [1, 0], settings())
    assert [image.dtype for image in found] == [np.uint8] * 2
    assert [image.shape for image in found] == [(*shape, 1)[:3]] * 2
    assert all(
        (image.squeeze() == pixels).all()
        for image, pixels in zip(found, pictures[::-1], strict=True)
    )


def test_a_large_picture_is_shrunk(converted, settings):
    """1200 / 512 asks for thirds: each pixel is the mean of 3x3."""
    pixels = noise(1200, 6, 3)
    (image,) = mistakes.decoded(converted(pixels), [0], settings())
    blocks = pixels.reshape(400, 3, 2, 3, 3).mean(axis=(1, 3))
    assert image.shape == blocks.shape
    assert np.abs(image - blocks).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (["--preprocessing_name=vgg", "--eval_image_size=10"], (10, 10, 3)),
        (["--preprocessing_name=inception", "--use_grayscale"], (8, 8, 1)),
    ],
)
def test_pictures_are_prepared_as_in_evaluation(tiny_dataset, settings, arguments, shape):
    split, config = datasets.load(tiny_dataset, "tiny", "test"), settings(*arguments)
    with tf.Graph().as_default(), tf.Session() as session:
        batch = input_pipeline.evaluation_batch(split, config)
        session.run(batch.start)
        expected = session.run(batch.images)
    assert len(expected) == 12
    found = mistakes.prepared(split, [11, 3], config)
    assert found.dtype == np.float32
    assert found.shape == (2, *shape)
    np.testing.assert_array_equal(found, expected[[11, 3]])
