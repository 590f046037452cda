"""Which pictures are kept, and that they are the pictures."""

from pathlib import Path

import numpy as np
import pytest

from core.compat import tf
from datasets import tfrecord
from engine import image_cache


def test_decoded_bytes(make_dataset, load):
    assert image_cache.decoded_bytes(load(make_dataset(10, size=(12, 10)))) == 10 * 12 * 10 * 3
    many = load(make_dataset(250, size=(6, 7), channels=1, shards=3))
    assert image_cache.decoded_bytes(many) == 250 * 6 * 7


def test_damaged_pictures_do_not_count(make_dataset, load):
    data = make_dataset(10, copy=9)
    (path,) = data.glob("shades_train.tfrecord")
    content = bytearray(path.read_bytes())
    content[20] ^= 1  # in the first record
    path.write_bytes(content)
    assert image_cache.decoded_bytes(load(data)) == 10 * 12 * 10 * 3


def test_kept_pictures_are_decoded_once(make_dataset, load):
    """The second time, the index alone tells the picture."""
    dataset = load(make_dataset(3))
    encoded = [
        tfrecord.picture_and_label(record.content)[0]
        for path in dataset.paths
        for record in tfrecord.read(Path(path))
    ]
    with tf.Graph().as_default(), tf.Session() as session:
        index, content = tf.placeholder(tf.int64, []), tf.placeholder(tf.string, [])
        expected = tfrecord.decode(content, 3)
        image = image_cache.keeping(3)(index, content)
        assert image.shape.as_list() == [None, None, 3]
        wanted = [session.run(expected, {content: one}) for one in encoded]
        for again in (False, True):
            for number, one in enumerate(encoded):
                found = session.run(image, {index: number, content: b"junk" if again else one})
                np.testing.assert_array_equal(found, wanted[number])
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(image, {index: 3, content: b"junk"})


@pytest.mark.parametrize(
    ("worthwhile", "share", "said"),
    [
        (360, 0.5, "Decoded pictures are kept in memory; they take about 0.00 GB of"),
        (360, 1e-9, "Decoded pictures would take about 0.00 GB of the 0.00 GB"),
        (361, 0.5, ""),
    ],
)
def test_what_is_kept(make_dataset, load, monkeypatch, caplog, worthwhile, share, said):
    monkeypatch.setattr(image_cache, "WORTHWHILE_BYTES", worthwhile)  # a picture has 360
    monkeypatch.setattr(image_cache, "SHARE_OF_MEMORY", share)
    caplog.set_level("INFO")
    with tf.Graph().as_default() as graph:
        image_cache.decoder(load(make_dataset()))
        kept = any("HashTable" in op.type for op in graph.get_operations())
    assert kept == ("are kept" in said)
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 3000 * 1024),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 3000 * 1024),
        ({"memory.max": "1000000\n", "memory.current": "400000\n"}, 600_000),
        ({"memory.max": "1000000000\n", "memory.current": "400000\n"}, 3000 * 1024),
        ({"memory.max": "1000\n", "memory.current": "2000\n"}, 0),
    ],
)
def test_available_memory(tmp_path, monkeypatch, files, expected):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 3000 kB\n")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(image_cache, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(image_cache, "_LIMITS", tmp_path)
    assert image_cache.available_memory() == expected
