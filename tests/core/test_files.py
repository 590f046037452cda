import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core import files
from core.errors import CheckpointError, LockedError, MachineError

ROOT = Path(__file__).resolve().parents[2]

HOLD_LOCK = """
import sys, time
from pathlib import Path
from core import files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process_holding_the_lock(directory):
    command = [sys.executable, "-c", HOLD_LOCK, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_atomic_write_replaces_the_content_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.atomic_write(path) as file:
        file.write("né\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == b"n\xc3\xa9\n"
    assert names(tmp_path) == ["a.txt"]


def test_atomic_write_takes_bytes(tmp_path):
    with files.atomic_write(tmp_path / "a", binary=True) as file:
        file.write(b"\xff\r\n")
    assert (tmp_path / "a").read_bytes() == b"\xff\r\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UnicodeEncodeError])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.atomic_write(path) as file:  # noqa: PT012
        file.write("new")
        if error is UnicodeEncodeError:
            file.write("\ud800")  # half of a pair: not in UTF-8
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_first_write_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), files.atomic_write(tmp_path / "a.txt") as file:
        file.write(str(1 // 0))
    assert names(tmp_path) == []


def test_a_process_killed_while_it_writes_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from core import files\n"
        "with files.atomic_write(sys.argv[1]) as file:\n"
        "    file.write('new' * 10000)\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(files.unfinished(tmp_path)) == 1
    files.sweep(tmp_path)
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_an_error_even_if_only_the_last_bytes_do_not_fit(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import resource, sys\n"
        "from core import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    files.write_text(sys.argv[1], 'x' * 1001)\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=ROOT)
    assert done.returncode == errno.EFBIG
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_sha256_of_a_file_of_several_blocks(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "million").write_bytes(b"a" * 1_000_000)
    (tmp_path / "long").write_bytes(b"a" * (2 << 20))
    # The first two are the test vectors of FIPS 180-2; the last is what sha256sum(1) says.
    assert files.sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert files.sha256(tmp_path / "million").startswith("cdc76e5c9914fb9281a1c7e284d73e67")
    told = subprocess.run(["sha256sum", tmp_path / "long"], capture_output=True, check=True).stdout
    assert files.sha256(tmp_path / "long") == told.split()[0].decode()


def test_commit_moves_in_order_and_staging_takes_the_rest_away(tmp_path):
    (tmp_path / "data").write_text("old data")
    (tmp_path / "mark").write_text("old mark")
    with files.staging(tmp_path) as stage:
        assert stage.parent == tmp_path
        for name in ("data", "mark", "scrap"):
            (stage / name).write_text(f"new {name}")
        assert names(tmp_path) == sorted([stage.name, "data", "mark"])
        files.commit(stage, ["data", "mark"], tmp_path)
    assert names(tmp_path) == ["data", "mark"]
    assert (tmp_path / "data").read_text() == "new data"
    assert (tmp_path / "mark").read_text() == "new mark"


def test_a_commit_that_lacks_a_file_changes_nothing(tmp_path):
    (tmp_path / "data").write_text("old data")
    (tmp_path / "mark").write_text("old mark")
    with files.staging(tmp_path) as stage:
        (stage / "data").write_text("new data")
        with pytest.raises(FileNotFoundError):
            files.commit(stage, ["data", "mark"], tmp_path)
    assert (tmp_path / "data").read_text() == "old data"
    assert (tmp_path / "mark").read_text() == "old mark"


KILLED_COMMIT = """
import os, signal, sys
from pathlib import Path
from core import files
directory, left = Path(sys.argv[1]), [int(sys.argv[2])]
def hook(event, arguments):  # it is told of each rename just before it happens
    if event == "os.rename":
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
with files.staging(directory) as stage:
    for name in ("a", "b", "mark"):
        (stage / name).write_text("new")
    sys.addaudithook(hook)
    files.commit(stage, ["a", "b", "mark"], directory)
"""


def kill_a_commit(directory, renames):
    """Commits a, b and mark in another process, which dies after that many renames."""
    command = [sys.executable, "-c", KILLED_COMMIT, str(directory), str(renames)]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_a_commit_killed_in_the_middle_is_all_or_nothing(tmp_path, older, renames):
    if older:
        for name in ("a", "b", "mark"):
            (tmp_path / name).write_text("old")
    kill_a_commit(tmp_path, renames)
    there = [files.committed(tmp_path, name) for name in ("a", "b", "mark")]
    content = {path.read_text() if path.exists() else None for path in there}
    assert content == {"new" if renames else "old" if older else None}
    # To tools that do not know of `committed`, the mark is the last to come.
    if not older:
        assert not (tmp_path / "mark").exists()
        assert (tmp_path / "b").exists() == (renames > 2)
    assert files.unfinished(tmp_path)
    files.sweep(tmp_path)
    assert not files.unfinished(tmp_path)
    assert names(tmp_path) == (["a", "b", "mark"] if renames or older else [])
    assert {(tmp_path / name).read_text() for name in names(tmp_path)} <= content


def test_too_little_space_is_told_beforehand(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    files.check_space(tmp_path, free // 2, "a checkpoint")
    with pytest.raises(
        MachineError, match=r"disk full: a checkpoint needs about \d+\.\d MB, "
    ) as error:
        files.check_space(tmp_path, 2 * free, "a checkpoint")
    assert error.value.exit_code == 4
    assert error.value.where == str(tmp_path)


def test_a_failed_block_takes_its_staging_directory_away(tmp_path):
    with pytest.raises(RuntimeError), files.staging(tmp_path) as stage:  # noqa: PT012
        (stage / "a").write_text("x")
        raise RuntimeError
    assert names(tmp_path) == []


def test_sweep_removes_what_interrupted_writers_left_and_nothing_else(tmp_path):
    (tmp_path / "dataset.json").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / ".tmp-12-ab-labels.txt").write_text("x")
    (tmp_path / ".tmp-12-cd").mkdir()
    (tmp_path / ".tmp-12-cd" / "train-0").write_text("x")
    (tmp_path / ".committing").mkdir()  # killed when all had been moved out of it
    assert [path.name for path in files.unfinished(tmp_path)] == [
        ".committing",
        ".tmp-12-ab-labels.txt",
        ".tmp-12-cd",
    ]
    files.sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "dataset.json"]


def test_make_directory_makes_parents_and_takes_what_is_there(tmp_path):
    assert files.make_directory(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert files.make_directory(tmp_path / "a" / "b").is_dir()


def test_a_directory_below_a_regular_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        MachineError, match=r"cannot make the directory: Not a directory \(.*file/d"
    ):
        files.make_directory(tmp_path / "file" / "d")


def test_the_lock_is_for_one_and_the_next_gets_it_afterwards(tmp_path):
    with files.locked(tmp_path):
        assert files.is_locked(tmp_path)
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"), files.locked(tmp_path):
            pass
    assert not files.is_locked(tmp_path)
    with files.locked(tmp_path):
        assert files.is_locked(tmp_path)


def test_a_lock_outlives_no_failure(tmp_path):
    with pytest.raises(RuntimeError), files.locked(tmp_path):
        raise RuntimeError
    assert not files.is_locked(tmp_path)


def test_a_directory_without_lock_file_is_not_locked_and_gets_none(tmp_path):
    assert not files.is_locked(tmp_path)
    assert not files.is_locked(tmp_path / "none")
    assert names(tmp_path) == []


def test_another_process_holds_the_lock_until_it_is_killed(tmp_path):
    with other_process_holding_the_lock(tmp_path) as process:
        assert files.is_locked(tmp_path)
        holder = f"in use by process {process.pid} on {socket.gethostname()} since 20\\d\\d-"
        with pytest.raises(LockedError, match=holder), files.locked(tmp_path):
            pass
        process.kill()
        process.wait()
        assert not files.is_locked(tmp_path)
        with files.locked(tmp_path):
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_directory_that_cannot_be_written_to_cannot_be_locked(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(MachineError, match=r"cannot write to the directory: .*\(.*file\)"),
        files.locked(Path(tmp_path / "file")),
    ):
        pass


def test_a_new_file_gets_its_name_when_it_is_complete(tmp_path):
    with files.atomic_new(tmp_path / "x.pb") as temporary:
        temporary.write_text("content")
        assert temporary.suffix == ".pb"
        assert not (tmp_path / "x.pb").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x.pb"]
    assert (tmp_path / "x.pb").read_text() == "content"


def test_a_new_directory_gets_its_name_when_it_is_complete(tmp_path):
    with files.atomic_new(tmp_path / "x") as temporary:
        (temporary / "inside").mkdir(parents=True)
        (temporary / "inside" / "file").write_text("content")
    assert (tmp_path / "x" / "inside" / "file").read_text() == "content"


@pytest.mark.parametrize("kind", ["file", "directory", "nothing"])
def test_nothing_is_left_of_a_new_file_or_directory_that_fails(tmp_path, kind):
    def write(temporary):
        if kind == "file":
            temporary.write_text("half")
        elif kind == "directory":
            temporary.mkdir()
            (temporary / "file").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), files.atomic_new(tmp_path / "x") as temporary:
        write(temporary)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path):
    dead = tmp_path / ".tmp-999999999-ab-x"  # above the largest process id of Linux
    living = tmp_path / f".tmp-{os.getpid()}-ab-x"
    of_another_file = tmp_path / ".tmp-999999999-ab-y"
    dead.mkdir()
    (dead / "file").touch()
    living.touch()
    of_another_file.touch()
    files.sweep_path(tmp_path / "x")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {living.name, of_another_file.name}
    files.sweep_killed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [living.name]


def test_sums_tell_which_file_is_wrong(tmp_path):
    covered = [tmp_path / name for name in ("a", "b")]
    for file in covered:
        file.write_text(file.name)
    sums = tmp_path / "all.sha256"
    sums.write_text("".join(map(files.checksum_line, covered)))
    files.check_sums(sums, covered)
    assert subprocess.run(["sha256sum", "-c", sums.name], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "b").write_text("c")
    with pytest.raises(CheckpointError, match=r"checksum is not that in all\.sha256 .*/b\)"):
        files.check_sums(sums, covered)
    with pytest.raises(CheckpointError, match="b is listed, but missing"):
        files.check_sums(sums, covered[:1])
    (tmp_path / "b").write_text("b")
    with pytest.raises(CheckpointError, match="damaged"):  # one more than is listed
        files.check_sums(sums, [*covered, sums])


def test_what_need_not_outlive_a_power_cut_is_not_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with files.atomic_write(tmp_path / "x", durable=False) as file:
        file.write("x")
    assert ((tmp_path / "x").read_text(), flushed) == ("x", [])
