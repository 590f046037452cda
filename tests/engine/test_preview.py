"""The sheet of augmentation shows what training is fed of."""

import dataclasses

import numpy as np
import PIL.Image
import pytest

from core.compat import tf
from core.errors import DataError, MachineError
from engine import input_pipeline, mixing, preview
from preprocessing.preprocessing_factory import get_to_pixels

RECORDS = 10
FLAGS = ("--rotation_degrees=20", "--brightness_range=0.2", "--erasing_probability=0.5")


@pytest.fixture
def sheet_of(make_dataset, load, configured, tmp_path):
    """sheet_of("--flag=value", ..., data=) is the sheet as uint8 [rows, columns, size, size, 3]."""

    def sheet_of(*arguments, data=None):
        config = configured(*arguments)
        dataset = load(data or make_dataset(RECORDS))
        preview.write(str(tmp_path / "sheet.png"), dataset, config)
        with PIL.Image.open(tmp_path / "sheet.png") as image:
            assert image.mode == "RGB"
            pixels = np.asarray(image)
        size = config.train_image_size
        cell = min(size * -(-preview.SMALLEST_CELL // size), preview.LARGEST_CELL)
        pitch, rows = cell + 6, min(preview.ROWS, dataset.num_samples)
        assert pixels.shape == (20 + rows * pitch, 130 + 8 * pitch, 3)
        cells = pixels[20:, 130:].reshape(rows, pitch, 8, pitch, 3).swapaxes(1, 2)
        assert (cells[:, :, cell:] == 255).all()
        assert (cells[:, :, :, cell:] == 255).all()
        every = cell // size if cell >= size else 1
        shown = cells[:, :, :cell:every, :cell:every]
        if cell >= size:
            again = shown.repeat(every, axis=2).repeat(every, axis=3)
            np.testing.assert_array_equal(again, cells[:, :, :cell, :cell])
        return shown

    return sheet_of


def trained_on(dataset, config, epochs=7):
    """What training is fed of each record in its epochs, float32 [records, epochs, ...]."""
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        batch = input_pipeline.training_batch(dataset, config)
        step.load(0, session)
        session.run(batch.start)
        found = [session.run((batch.images, batch.ids)) for _ in range(epochs * RECORDS // 2)]
    images, ids = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return np.stack([images[ids == record] for record in range(RECORDS)])


@pytest.mark.parametrize("preprocessing", ["cifarnet", "imagenet", "inception", "vgg"])
def test_the_sheet_is_what_training_is_fed_of(
    sheet_of, make_dataset, load, configured, preprocessing
):
    arguments = (f"--preprocessing_name={preprocessing}", "--batch_size=2", *FLAGS)
    shown = sheet_of(*arguments)
    dataset = load(make_dataset(RECORDS))
    to_pixels = get_to_pixels(preprocessing)
    fed = trained_on(dataset, configured(*arguments))
    np.testing.assert_array_equal(shown[:, 1:], to_pixels(fed[:8]))
    plain = configured(f"--preprocessing_name={preprocessing}", "--norecipe_augmentation")
    evaluated = trained_on(dataset, dataclasses.replace(plain, batch_size=2), epochs=1)
    np.testing.assert_array_equal(shown[:, 0], to_pixels(evaluated[:8, 0]))


@pytest.mark.parametrize("flag", ["mixup_alpha", "cutmix_alpha"])
def test_pictures_of_a_column_are_mixed(sheet_of, make_dataset, load, configured, flag):
    shown = sheet_of("--preprocessing_name=pad_crop", f"--{flag}=1")
    dataset = load(make_dataset(RECORDS))
    fed = trained_on(dataset, configured("--preprocessing_name=pad_crop", "--batch_size=2"))
    way = {"mixup_alpha": mixing.mixup, "cutmix_alpha": mixing.cutmix}[flag]
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        images = tf.placeholder(tf.float32, [8, 8, 8, 3])
        mixed, _ = way(images, tf.zeros([8, 3]), 1.0, 0)
        for epoch in range(7):
            step.load(epoch, session)
            expected = session.run(mixed, {images: fed[:8, epoch]})
            np.testing.assert_array_equal(
                shown[:, 1 + epoch], get_to_pixels("pad_crop")(expected), err_msg=str(epoch)
            )


@pytest.mark.parametrize(("size", "cell"), [(32, 128), (224, 224), (300, 256)])
def test_sizes(sheet_of, size, cell):
    assert sheet_of(f"--train_image_size={size}").shape[2] == min(size, cell)


def test_grey_pictures_and_few_of_them(sheet_of, make_dataset):
    shown = sheet_of("--randaugment_layers=1", data=make_dataset(3, channels=1))
    assert shown.shape == (3, 8, 8, 8, 3)
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])


def test_names_stand_before_the_rows():
    columns = [np.zeros([2, 8, 8, 3], np.uint8)] * 2
    plain = np.asarray(preview.sheet(columns, ["", ""], ["", ""]))
    name = "a class with a long name \N{CJK UNIFIED IDEOGRAPH-82B1}"
    named = np.asarray(preview.sheet(columns, ["", ""], ["", name]))
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert rows.min() > 20 + 118  # beside the second row
    assert columns.max() < 130


def test_the_script_writes_the_sheet_and_nothing_else(make_dataset, train, tmp_path):
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    train(make_dataset(), run, f"--preview_augmentation={sheet}", "--flip_up_down")
    first = sheet.read_bytes()
    assert first.startswith(b"\x89PNG")
    train(make_dataset(), run, f"--preview_augmentation={sheet}", "--flip_up_down")
    assert sheet.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_run_that_is_there_is_left_alone(make_dataset, copied_run, train, tmp_path):
    run = copied_run("lenet")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    train(make_dataset(), run, f"--preview_augmentation={tmp_path / 'x.png'}", "--seed=3")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", ["missing/x.png", "a.png"])
def test_a_path_that_cannot_be_written(make_dataset, load, configured, tmp_path, place):
    (tmp_path / "a.png").mkdir()
    path = tmp_path / place
    with pytest.raises(MachineError, match=f"^cannot write the sheet: .*{path}") as caught:
        preview.write(str(path), load(make_dataset()), configured())
    assert caught.value.exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_full_disk(make_dataset, load, configured, tmp_path, no_file_beyond):
    dataset, config = load(make_dataset()), configured()
    with no_file_beyond(1000), pytest.raises(MachineError, match="File too large"):
        preview.write(str(tmp_path / "x.png"), dataset, config)
    assert not [*tmp_path.iterdir()]


def test_a_damaged_record_is_named(make_dataset, load, configured, tmp_path):
    data = make_dataset(copy="preview")
    path = data / "shades_train.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="record 0"):
        preview.write(str(tmp_path / "x.png"), load(data), configured())
