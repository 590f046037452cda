"""The load on the server, in small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import serve_attack, serve_load
from core.errors import FlagError
from datasets import images

ROOT = Path(__file__).resolve().parents[2]


def test_bombs_are_small_and_claim_to_be_large():
    for bomb in serve_attack.bombs():
        assert len(bomb) < 3000
        with pytest.raises(images.TooManyPixelsError):
            images.load(bomb)


def test_the_jpeg_is_one_that_decoders_take():
    bomb = serve_attack.bombs()[1]
    small = bomb.replace((12_000).to_bytes(2, "big") * 2, (16).to_bytes(2, "big") * 2)
    picture = images.load(small)
    assert (picture.format, picture.height, picture.width) == ("jpeg", 16, 16)


def test_pictures_are_read_as_often_as_needed(colour_folder, tmp_path):
    pictures = serve_load.read(str(colour_folder), 30)
    assert len(pictures) == 30
    assert len(set(pictures)) == 12
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(FlagError, match="no pictures"):
        serve_load.read(str(tmp_path), 1)


def test_all_of_it_in_small(colour_run, colour_folder):
    result = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.serve_load", "--seconds=1", "--rounds=1"),
            *(f"--checkpoint_path={colour_run}", f"--images={colour_folder}"),
            *("--concurrency=4", "--overload=200"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in result.stdout.splitlines()
        if line.startswith("│")
    ]
    loads = {row[0]: row for row in rows if len(row) == 10}
    assert set(loads) == {"quiet 1", "attacked 1", "overload", "quiet again"}
    for row in loads.values():
        assert int(row[5]) > 0
        assert row[8:] == ["0", "0"]
    assert int(loads["overload"][6]) > 0
    agreement = re.search(
        r"64 uploads at once were all answered, at most (\S+) from", result.stdout
    )
    assert float(agreement[1]) < 1e-6
