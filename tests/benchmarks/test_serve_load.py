"""What the load on the server is made of."""

import pytest

from benchmarks import serve_attack, serve_load
from core.errors import FlagError
from datasets import images


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
