import gzip
import http.server
import io
import os
import pickle
import tarfile
import threading

import numpy as np
import PIL.Image
import pytest

import datasets
import download_and_convert_data
from core import files, flags
from core.errors import DataError, FlagError
from datasets import cifar10, conversion, download

ROWS = 4  # instead of 10,000
NAMES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(cifar10, "ROWS", ROWS)


def rows(number):
    """The rows of one data file: labels number, number + 1, ...; pixels of noise."""
    content = np.random.RandomState(number).randint(0, 256, (ROWS, 3073)).astype(np.uint8)
    content[:, 0] = (number + np.arange(ROWS)) % 10
    return content


OFFICIAL = [
    (f"cifar-10-batches-bin/{name}", rows(number).tobytes()) for number, name in enumerate(NAMES)
]


def member(name, content=b"", kind=tarfile.REGTYPE, link=""):
    """A tar member as it stands in an archive: header, content, padding."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    padding = bytes(-len(content) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + content + padding


def write(path, members, end=bytes(1024)):
    path.write_bytes(gzip.compress(b"".join(members) + end, compresslevel=1))
    return path


@pytest.fixture
def archive(tmp_path):
    """archive(members before, members after) has the official layout in between."""

    def archive(before=(), after=(), files=OFFICIAL):
        return write(tmp_path / "a.tar.gz", [*before, *(member(*file) for file in files), *after])

    return archive


def options(tmp_path, **changes):
    arguments = {"dataset_name": "cifar10", "dataset_dir": tmp_path / "data"} | changes
    return flags.parse(
        download_and_convert_data.define_flags, [f"--{k}={v}" for k, v in arguments.items()]
    )


def examples(path, tmp_path):
    return list(cifar10.source(options(tmp_path, source_archive=path)).examples())


def pixels(example):
    return np.asarray(PIL.Image.open(io.BytesIO(example.encoded), formats=["PNG"]))


def test_the_facts_of_the_official_archive():
    assert cifar10.ROW_BYTES == 3073
    assert list(cifar10.MEMBERS) == NAMES
    assert set(cifar10.MEMBERS.values()) == {"train", "test"}
    # 6 files of 10,000 rows and 1 %: 6 * 10,000 * 3073 * 1.01.
    assert cifar10.MAX_BYTES == 186_223_800
    assert len(cifar10.CLASS_NAMES) == 10
    assert (cifar10.CLASS_NAMES[0], cifar10.CLASS_NAMES[9]) == ("airplane", "truck")


def test_every_row_becomes_an_example_in_order(archive, tmp_path):
    converted = examples(archive(), tmp_path)
    assert [split for split, _ in converted] == ["train"] * 20 + ["test"] * 4
    labels = [(number + row) % 10 for number in range(6) for row in range(ROWS)]
    assert [example.label for _, example in converted] == labels
    names = [f"{name}:{row}".encode() for name in NAMES for row in range(ROWS)]
    assert [example.filename for _, example in converted] == names
    assert {example[1:4] for _, example in converted} == {("png", 32, 32)}


def test_the_planes_of_a_row_are_red_green_and_blue_each_row_by_row(archive, tmp_path):
    content = rows(0)
    across = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    content[1, 1:] = np.concatenate([np.full(1024, 200), across.T.ravel(), across.ravel() + 100])
    changed = [(OFFICIAL[0][0], content.tobytes()), *OFFICIAL[1:]]
    _, example = examples(archive(files=changed), tmp_path)[1]
    image = pixels(example)
    assert image.shape == (32, 32, 3)
    assert (image[..., 0] == 200).all()
    assert (image[5, :, 1] == 5).all()  # green grows from the top to the bottom
    assert (image[:, 7, 2] == 107).all()  # blue grows from left to right


def test_every_pixel_is_kept(archive, tmp_path):
    converted = examples(archive(), tmp_path)
    expected = rows(5)[2, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
    assert (pixels(converted[22][1]) == expected).all()


def test_pictures_held_out_for_validation(archive, tmp_path):
    source = cifar10.source(options(tmp_path, source_archive=archive(), validation_pictures=6))
    plain = examples(archive(), tmp_path)
    found = list(source.examples())
    assert [split for split, _ in found] == ["train"] * 14 + ["validation"] * 6 + ["test"] * 4
    assert [example for _, example in found] == [example for _, example in plain]
    assert source.settings["validation_pictures"] == 6


def test_conversion(archive, tmp_path):
    path = archive()
    source = cifar10.source(options(tmp_path, source_archive=path))
    assert (source.total, source.size) == (24, 24 * 2_500)
    result = conversion.convert("cifar10", source, str(tmp_path / "data"))
    assert result.dataset.source == {"archive_sha256": files.sha256(path)}
    train = datasets.load(tmp_path / "data", "cifar10", "train")
    assert (train.num_samples, train.num_classes, train.channels) == (20, 10, 3)
    assert train.paths == [str(tmp_path / "data" / "cifar10_train.tfrecord")]
    assert datasets.load(tmp_path / "data", "cifar10", "test").num_samples == 4


def test_the_archive_is_downloaded_and_removed(archive, tmp_path, monkeypatch):
    path = archive()
    content = path.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        official = download.Archive(
            f"http://127.0.0.1:{server.server_port}/b.tar.gz", len(content), files.sha256(path)
        )
        monkeypatch.setattr(cifar10, "ARCHIVE", official)
        source = cifar10.source(options(tmp_path))
        assert source.size == 24 * 2_500 + len(content)  # the archive lies there meanwhile
        result = conversion.convert("cifar10", source, str(tmp_path / "data"))
        thread.join()
    assert result.dataset.source == {"archive_sha256": official.sha256}
    assert not (tmp_path / "data" / "b.tar.gz").exists()
    # Nothing is fetched to find out that it is there: the server is gone.
    again = conversion.convert("cifar10", cifar10.source(options(tmp_path)), str(tmp_path / "data"))
    assert not again.written


def test_a_local_archive_must_have_the_checksum_given(archive, tmp_path):
    path = archive()
    cifar10.source(options(tmp_path, source_archive=path, archive_sha256=files.sha256(path)))
    with pytest.raises(DataError, match=r"sha256 is .*, expected 00ff"):
        cifar10.source(options(tmp_path, source_archive=path, archive_sha256="00ff"))
    with pytest.raises(FlagError, match="no such file"):
        cifar10.source(options(tmp_path, source_archive=tmp_path / "none"))


@pytest.mark.parametrize(("label", "row"), [(10, 0), (255, 3)])
def test_a_label_that_is_none_is_told_with_its_row(archive, tmp_path, label, row):
    content = rows(2)
    content[row, 0] = label
    changed = [*OFFICIAL[:2], (NAMES[2], content.tobytes()), *OFFICIAL[3:]]
    with pytest.raises(DataError, match=rf"label {label} at row {row} of {NAMES[2]} \(.*a.tar.gz"):
        examples(archive(files=changed), tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_missing_files_are_told(archive, kept):
    missing = ", ".join(NAMES[kept:])
    with pytest.raises(
        DataError, match=f"^{missing} not in the archive .* - is it cifar-10-binary"
    ):
        list(cifar10.members(archive(files=OFFICIAL[:kept])))


@pytest.mark.parametrize("size", [0, 1, ROWS * 3073 - 1, ROWS * 3073 + 1, ROWS * 3073 * 2])
def test_a_file_of_another_size_is_told(archive, size):
    changed = [(NAMES[0], bytes(size)), *OFFICIAL[1:]]
    message = f"{NAMES[0]} has {size} bytes, expected {ROWS * 3073}"
    with pytest.raises(DataError, match=message):
        list(cifar10.members(archive(files=changed)))


CONTENT = OFFICIAL[0][1]


@pytest.mark.parametrize(
    "malicious",
    [
        [member(NAMES[0], kind=tarfile.SYMTYPE, link="/etc/passwd")],
        [member(NAMES[0], kind=tarfile.LNKTYPE, link="../../canary/file")],
        [member(NAMES[0], kind=tarfile.FIFOTYPE)],
        [member(NAMES[0], kind=tarfile.CHRTYPE)],
        [member(NAMES[0], kind=tarfile.BLKTYPE)],
        [member(NAMES[0], kind=tarfile.DIRTYPE)],
        [
            member("way", kind=tarfile.SYMTYPE, link="../canary"),
            member("way/file", b"overwritten"),
            member("way/test_batch.bin.exe", b"new"),
        ],
        [
            member("a", kind=tarfile.SYMTYPE, link="."),
            member("a/b", kind=tarfile.SYMTYPE, link=".."),
            member("a/b/c", kind=tarfile.SYMTYPE, link="canary"),
            member("a/b/c/file", b"overwritten"),
        ],
        [
            member("link", kind=tarfile.LNKTYPE, link="../canary/file"),
            member("link", b"overwritten"),
        ],
        [member("../canary/file", b"overwritten"), member("../canary/new", b"new")],
    ],
)
def test_of_a_malicious_archive_nothing_is_used_or_written(archive, tmp_path, malicious):
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "file").write_text("as it was")
    absolute = [member(f"{tmp_path}/canary/{name}", b"overwritten") for name in ("file", "new")]
    with pytest.raises(DataError, match=f"^{NAMES[0]} not in the archive"):
        list(cifar10.members(archive([*malicious, *absolute], files=OFFICIAL[1:])))
    assert (tmp_path / "canary" / "file").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "canary", "file"]


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("name", ["data_batch_{}", "data_batch_{}.bin", "test_batch.bin"])
@pytest.mark.parametrize("size", [0, ROWS * 3073])
def test_pickles_are_never_opened(archive, tmp_path, name, size):
    touched = tmp_path / "touched"
    payloads = [
        Payload(os.system, f"touch {touched}"),
        Payload(eval, f"open({str(touched)!r}, 'w')"),
        Payload(np.save, str(touched), 1),
        {"data": [Payload(os.mkdir, str(touched))], "labels": [0]},
    ]
    pickles = [pickle.dumps(payload, protocol=2).ljust(size, b".") for payload in payloads]
    named = [(name.format(number), content) for number, content in enumerate(pickles, start=1)]
    with pytest.raises(DataError):
        examples(archive(files=named), tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["/tmp/{}", "../../{}", "{}", "a/../../b/{}"])
def test_where_an_archive_wants_its_files_does_not_matter(archive, tmp_path, name):
    moved = [(name.format(NAMES[i]), content) for i, (_, content) in enumerate(OFFICIAL)]
    assert [read for read, _ in cifar10.members(archive(files=moved))] == NAMES
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tar.gz"]


def test_the_first_of_two_files_of_a_name_counts(archive):
    second = [member(NAMES[0], bytes(ROWS * 3073))]
    assert dict(cifar10.members(archive(after=second)))[NAMES[0]] == CONTENT


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_that_unpacks_to_too_much_is_refused(archive, monkeypatch, kind):
    monkeypatch.setattr(cifar10, "MAX_BYTES", 200_000)
    assert len(list(cifar10.members(archive()))) == 6  # 6 * (512 + 12,800) bytes
    with pytest.raises(DataError, match="unpacks to more than the files of CIFAR-10"):
        list(cifar10.members(archive([member("zeros", bytes(5_000_000), kind)])))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"\x1f\x8b",
        gzip.compress(b"no tar at all"),
        gzip.compress(bytes(10_240)),
        member(*OFFICIAL[0]),
    ],
    ids=["empty", "page", "two bytes", "no tar", "zeros", "not gzipped"],
)
def test_what_is_no_gzipped_tar_is_told(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"(cannot read|not in) the archive.*a\.tar\.gz\)"):
        list(cifar10.members(tmp_path / "a.tar.gz"))


def test_an_archive_cut_short_is_told_wherever_it_ends(archive):
    path = archive()
    whole = path.read_bytes()
    for sixteenth in range(16):
        path.write_bytes(whole[: len(whole) * sixteenth // 16])
        with pytest.raises(DataError, match=r"a\.tar\.gz"):
            list(cifar10.members(path))


def test_a_damaged_archive_is_told_or_read_but_never_a_bug(archive):
    path = archive()
    whole = path.read_bytes()
    told = 0
    for position in np.random.RandomState(0).randint(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            assert [name for name, _ in cifar10.members(path)] == NAMES
        except DataError:
            told += 1
    assert told > 0
