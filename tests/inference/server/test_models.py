"""Newer models that take the place of the one that is served."""

import asyncio
import contextlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import CheckpointError
from inference.server import models
from inference.server.models import Models


@pytest.fixture
def run(colour_run, tmp_path):
    """A copy of `colour_run` that is at its first checkpoint yet."""
    directory = tmp_path / "run"
    newer = shutil.ignore_patterns("model.ckpt-60.*")
    shutil.copytree(colour_run, directory, ignore=newer)
    return directory


@pytest.fixture
def add_checkpoint(colour_run, run):
    """Puts the other checkpoint beside the first."""

    def add_checkpoint(step=60):
        for path in sorted(colour_run.glob("model.ckpt-60.*"), reverse=True):  # the index last
            content = path.read_bytes()
            if path.suffix == ".sha256":
                content = content.replace(b"model.ckpt-60.", b"model.ckpt-%d." % step)
            (run / path.name.replace("-60", f"-{step}")).write_bytes(content)

    return add_checkpoint


@contextlib.contextmanager
def serving(path, events=None):
    """Models of a path, served, and a way to wait for what they do."""
    version = models.newest(str(path))
    observe = {"observe": events.append} if events is not None else {}
    with (
        ThreadPoolExecutor(1) as thread,
        contextlib.closing(
            Models(str(path), version, models.opened(str(path)), thread, **observe)
        ) as served,
    ):
        yield served


def predict(predictor, picture):
    return predictor.probabilities([picture])[0].tolist()


def test_a_newer_checkpoint_is_served(run, add_checkpoint, picture):
    events = []
    with serving(run, events) as served:
        asyncio.run(served.reload())
        assert served.model.version == 0
        add_checkpoint()
        asyncio.run(served.reload())
        assert served.model.version == 60
        assert served.reload_error is None
        with served.lease() as predictor:
            assert max(predict(predictor, picture("red"))) == predict(predictor, picture("red"))[0]
    assert [model.version for model in events] == [0, 60]


def test_who_has_begun_with_a_model_ends_with_it(run, add_checkpoint, picture):
    with serving(run) as served:
        with served.lease() as old:
            before = predict(old, picture("red"))
            add_checkpoint()
            asyncio.run(served.reload())
            with served.lease() as new:
                assert new is not old
                assert predict(new, picture("red")) != before
            assert predict(old, picture("red")) == before
        with pytest.raises(RuntimeError, match="closed"):
            predict(old, picture("red"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_model_is_not_served_until_it_is_mended(run, add_checkpoint, colour_run):
    add_checkpoint()
    flip(run / "model.ckpt-60.data-00000-of-00001")
    damaged = run / "model.ckpt-60.index"
    index = damaged.read_bytes()
    damaged.unlink()
    with serving(run) as served:
        assert served.model.version == 0
        damaged.write_bytes(index)
        asyncio.run(served.reload())
        assert served.model.version == 0
        assert served.reload_error
        assert str(run) not in served.reload_error
        shutil.copy(colour_run / "model.ckpt-60.data-00000-of-00001", run)
        asyncio.run(served.reload())
        assert (served.model.version, served.reload_error) == (60, None)


def test_a_model_that_is_being_copied_is_served_when_it_is_there(run, colour_run):
    names = ("model.ckpt-60.sha256", "model.ckpt-60.index", "model.ckpt-60.meta")
    last = "model.ckpt-60.data-00000-of-00001"
    with serving(run) as served:
        for name in (*names, last):
            data = (colour_run / name).read_bytes()
            for part in (len(data) // 2, len(data)):
                (run / name).write_bytes(data[:part])
                assert served.model.version == 0
                asyncio.run(served.reload())
        assert (served.model.version, served.reload_error) == (60, None)


def test_a_model_that_failed_is_tried_again_later_and_another_at_once(run, add_checkpoint):
    with serving(run) as served:
        add_checkpoint()
        whole = (run / "model.ckpt-60.meta").read_bytes()
        (run / "model.ckpt-60.meta").write_bytes(b"damaged")
        asyncio.run(served.reload(retry_seconds=600))
        assert served.reload_error
        (run / "model.ckpt-60.meta").write_bytes(whole)
        asyncio.run(served.reload(retry_seconds=600))
        assert served.model.version == 0
        add_checkpoint(step=61)
        asyncio.run(served.reload(retry_seconds=600))
        assert (served.model.version, served.reload_error) == (61, None)


def test_a_model_with_other_classes_is_not_served(run, add_checkpoint):
    with serving(run) as served:
        description = json.loads((run / "run.json").read_text())
        text = json.dumps(description).replace('"red"', '"rouge"')
        (run / "run.json").write_text(text)
        add_checkpoint()
        asyncio.run(served.reload())
        assert served.model.version == 0
        assert served.reload_error == "its classes are not those of the model that is served"


def test_the_model_stays_when_its_directory_goes(run, picture):
    with serving(run) as served:
        shutil.rmtree(run)
        asyncio.run(served.reload())
        assert served.reload_error
        with served.lease() as predictor:
            assert len(predict(predictor, picture("red"))) == 3


def test_there_is_no_newest_of_nothing(tmp_path):
    with pytest.raises(CheckpointError):
        models.newest(str(tmp_path))


def test_reloads_under_load_fail_no_request(run_server, run, add_checkpoint, picture):
    """Each answer is that of the version it names."""
    answers = []
    with run_server(run, "--reload_secs=0.05") as server:
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                answers.append(server.classify(picture("red")))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for step in (60, 61, 62):
            add_checkpoint(step)
            flip(run / f"model.ckpt-{step}.meta")
            while not server.ask("GET", "/healthz").json()["reload_error"]:
                pass
            add_checkpoint(step)
            while server.ask("GET", "/healthz").json()["model"]["version"] != step:
                pass
            answers.append(server.classify(picture("red")))
        stop.set()
        for thread in threads:
            thread.join()
    assert {answer.status for answer in answers} == {200}
    by_version = {}
    for content in (answer.json() for answer in answers):
        found = round(content["probability"], 5)
        by_version.setdefault(content["model"]["version"], set()).add(found)
    assert by_version.keys() == {0, 60, 61, 62}
    assert all(len(found) == 1 for found in by_version.values())
    assert by_version[60] == by_version[61] == by_version[62] != by_version[0]
