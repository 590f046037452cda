"""The image that Docker would build, as far as that can be seen without Docker.

What it copies is copied to an empty directory, and its command is started there as its user.
"""

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import serve_image_classifier
from core import flags as core_flags


@pytest.fixture(scope="module")
def instructions(root):
    """(instruction, rest) of each line, in order."""
    text = re.sub(r"\\\n", "", (root / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def rest_of(instructions, name):
    return [rest for instruction, rest in instructions if instruction == name]


@pytest.fixture(scope="module")
def image(instructions, root, tmp_path_factory):
    """The files of the image below its working directory."""
    # Not below pytest's own directories, which nobody else may enter.
    directory = Path(tmp_path_factory.mktemp("image"))
    for rest in rest_of(instructions, "COPY"):
        *sources, target = rest.split()
        for source in sources:
            if (root / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(root / source, directory / target, ignore=ignored)
            else:
                shutil.copy(root / source, directory / target)
    return directory


def test_what_is_copied_is_not_left_out_of_the_build(instructions, root):
    lines = (root / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    left_out = [line for line in lines if line and line[0] not in "!#"]
    for rest in rest_of(instructions, "COPY"):
        for source in rest.split()[:-1]:
            assert source in kept
    assert any(fnmatch.fnmatch(".git", pattern) for pattern in left_out)


def test_the_extra_and_the_constraints_are_those_of_the_project(instructions):
    (install,) = (rest for rest in rest_of(instructions, "RUN") if "pip install" in rest)
    assert "-c constraints.txt" in install
    assert "'.[serve]'" in install


def test_its_port_is_the_one_that_is_exposed_and_asked_for_its_health(instructions):
    command = json.loads(rest_of(instructions, "ENTRYPOINT")[0])
    config = core_flags.parse(serve_image_classifier.define, command[2:])
    assert (config.checkpoint_path, config.host) == ("/model", "0.0.0.0")
    assert rest_of(instructions, "EXPOSE") == [str(config.port)]
    assert f"http://127.0.0.1:{config.port}/healthz" in rest_of(instructions, "HEALTHCHECK")[0]


def test_its_user_is_not_root(instructions):
    (user,) = rest_of(instructions, "USER")
    assert int(user) > 0
    names = [instruction for instruction, _ in instructions]
    assert names.index("USER") > names.index("RUN")
    assert names.index("USER") < names.index("ENTRYPOINT")


def can_run(options):
    """Whether Python can be started as another user: not by everyone, nor out of root's home."""
    try:
        return subprocess.run([sys.executable, "-c", ""], check=False, **options).returncode == 0
    except PermissionError:
        return False


def test_it_serves_a_read_only_model_as_its_user(image, instructions, colour_run, tmp_path):
    user = int(rest_of(instructions, "USER")[0])
    model = tmp_path / "model"
    shutil.copytree(colour_run, model)
    options = {"user": user, "group": user, "extra_groups": []}
    if can_run(options):
        for directory in (image, *image.parents[:2], tmp_path, *tmp_path.parents[:2]):
            directory.chmod(0o755)
    else:
        options = {}
    command = json.loads(rest_of(instructions, "ENTRYPOINT")[0])
    command = [sys.executable, *command[1:], f"--checkpoint_path={model}", "--port=0"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONUNBUFFERED": "1"}
    before = sorted(model.rglob("*"))
    with subprocess.Popen(
        command, cwd=image, env=environment, stdout=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
                assert json.load(answer)["model"]["class_names"] == ["red", "green", "blue"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    assert sorted(model.rglob("*")) == before
