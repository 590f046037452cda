import gzip
import re

import pytest

from core.compat import tf
from core.errors import DataError
from datasets import records

LENGTHS = [5, 0, 1, 300, 17]
FRAME = 16  # length 8, its crc 4, crc of the content 4
ENDS = [21, 37, 54, 370, 403]  # 5+16=21, +0+16=37, +1+16=54, +300+16=370, +17+16=403


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A record file as TensorFlow writes it."""
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for length in LENGTHS:
            writer.write(b"x" * length)
    return path.read_bytes()


def test_the_frame_is_what_tensorflow_writes_around_a_record(content):
    assert records.FRAME_BYTES == FRAME
    assert len(content) == ENDS[-1]


def test_count_is_the_number_of_records(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    for count, end in enumerate([0, *ENDS]):
        path.write_bytes(content[:end])
        assert records.count(path) == count


def test_a_file_cut_inside_a_record_is_told_with_record_and_position(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    for size in set(range(1, ENDS[-1])) - set(ENDS):
        path.write_bytes(content[:size])
        record = sum(end < size for end in ENDS)
        start = [0, *ENDS][record]
        where = re.escape(f"cut short at record {record} ({path}:{start})")
        with pytest.raises(DataError, match=where):
            records.count(path)


@pytest.mark.parametrize(
    "text",
    [
        b"<html><body>404 Not Found</body></html>",
        b"\x00",
        b"\xff" * 100,
        gzip.compress(bytes(1000)),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["page", "one byte", "ones", "gzip", "picture"],
)
def test_what_is_no_record_file_is_told(tmp_path, text):
    (tmp_path / "a.tfrecord").write_bytes(text)
    with pytest.raises(DataError, match=r"not a TFRecord file.*a\.tfrecord:0\)"):
        records.count(tmp_path / "a.tfrecord")


def test_garbage_after_the_last_record_is_told(tmp_path, content):
    (tmp_path / "a.tfrecord").write_bytes(content + b"garbage")
    with pytest.raises(DataError, match=f"cut short at record 5 .*:{ENDS[-1]}"):
        records.count(tmp_path / "a.tfrecord")


def test_a_length_near_the_largest_number_does_not_wrap_round(tmp_path, content):
    (tmp_path / "a.tfrecord").write_bytes((2**64 - 1).to_bytes(8, "little") + content[8:])
    with pytest.raises(DataError, match="record 0"):
        records.count(tmp_path / "a.tfrecord")
