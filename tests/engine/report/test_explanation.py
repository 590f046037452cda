import warnings

import matplotlib
import numpy as np
import PIL.Image
import pytest

from core import flags as core_flags
from core.compat import tf
from core.errors import FlagError
from engine import evaluation, flags, freezing, model
from engine.report import explanation, mistakes
from engine.report.explanation import Explained
from engine.report.mistakes import Mistake
from engine.scores import Scores


@pytest.fixture
def settings():
    """settings(run, "--flag=value", ...) is the configuration of an evaluation of a run."""

    def settings(run, *arguments):
        given = [f"--checkpoint_path={run}", *arguments]
        return evaluation.settings(core_flags.parse(flags.define_evaluation, given))

    return settings


@pytest.fixture
def freezer_of():
    """freezer_of(config, size=8) is the net of a run with 3 classes, in a graph of its own."""

    def freezer_of(config, size=8):
        with tf.Graph().as_default():
            tf.train.create_global_step()
            return freezing.Freezer(size, 3, 3, config)

    return freezer_of


def normalised(maps):
    """Maps divided by their largest values; those of zeros, which may not be all, stay."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    assert (largest > 0).sum() >= 3
    return maps / np.where(largest > 0, largest, 1)


def noise(*shape):
    return np.random.RandomState(0).normal(size=shape).astype(np.float32)


# By the tables of the papers: the last layer whose map has not been shrunk to 1x1.
FEATURE_MAPS = [
    ("lenet", 28, None, "pool2", 7),
    ("lenet", 6, None, "conv2", 3),
    ("cifarnet", 32, None, "pool2", 8),
    ("mobilenet_v1_025", 32, 1, "Conv2d_13_pointwise", 2),
    ("inception_v1", 32, None, "Mixed_4f", 2),
    # The unit after it shrinks the map, but its first layer, of 2x2 still, is in its residual.
    ("resnet_v1_50", 32, None, "resnet_v1_50/block3/unit_5/bottleneck_v1", 2),
    ("resnet_v1_18", 32, None, "resnet_v1_18/block3", 2),
    ("resnet_v2_50", 64, None, "resnet_v2_50/postnorm", 2),
]


@pytest.mark.parametrize(("net", "size", "stem_stride", "layer", "side"), FEATURE_MAPS)
def test_the_feature_map_is_the_last_one_with_places(
    configured, net, size, stem_stride, layer, side
):
    stem = [f"--stem_stride={stem_stride}"] if stem_stride else []
    config = configured(f"--model_name={net}", *stem)
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, size, size, 3])
        logits, end_points = model.build_net(images, 3, config, is_training=False)
    found = explanation.feature_map(end_points, images, logits)
    assert found is end_points[layer]
    assert found.shape.as_list()[1:3] == [side, side]


@pytest.mark.parametrize(
    "net",
    [
        *("lenet", "mobilenet_v1_025"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("inception_v1", "resnet_v1_50")),
    ],
)
def test_a_head_of_ones_own_leaves_the_feature_map_as_it_is(configured, net):
    found = {}
    for units in (0, 6):
        config = configured(f"--model_name={net}", f"--head_units={units}")
        with tf.Graph().as_default():
            images = tf.placeholder(tf.float32, [None, 64, 64, 3])
            logits, end_points = model.build_net(images, 3, config, is_training=False)
            found[units] = explanation.feature_map(end_points, images, logits).name
    assert found[6] == found[0]


def test_a_net_without_a_map_that_has_places():
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 4, 4, 3])
        pooled = tf.reduce_mean(images, [1, 2], keepdims=True)
        logits = tf.squeeze(pooled, [1, 2])
        end_points = {"pooled": pooled, "aside": 2 * images, "logits": logits}
    with pytest.raises(FlagError, match="pictures of 4 pixels leave this net no feature map"):
        explanation.feature_map(end_points, images, logits)


def test_grad_cam_of_lenet_is_that_of_its_head_in_numpy(
    finished_run, freezer_of, settings, variables_of
):
    """With W and V the weights of fc3 and fc4, a logit's gradient is W (V where fc3 is above 0)."""
    run = finished_run("lenet")
    config = settings(run, "--batch_size=2")
    checkpoint, freezer = str(run / "model.ckpt-7"), freezer_of(config)
    images, classes = noise(5, 8, 8, 3), np.array([0, 1, 2, 2, 0])
    net = freezer.frozen(checkpoint, config)
    maps = explanation.grad_cam(freezer, net, config, images, classes)
    assert maps.dtype == np.float32
    assert maps.shape == (5, 2, 2)

    with freezer.restored(checkpoint, config) as session:
        features = session.run(freezer.end_points["pool2"], {freezer.images: images})
    values = {
        name.removeprefix("LeNet/"): value for name, value in variables_of(checkpoint).items()
    }
    hidden = features.reshape(5, -1) @ values["fc3/weights"] + values["fc3/biases"]
    of_hidden = (hidden > 0) * values["fc4/weights"].T[classes]  # [5, 1024]
    gradients = (of_hidden @ values["fc3/weights"].T).reshape(features.shape)
    alpha = gradients.mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((alpha * features).sum(axis=3), 0)
    assert (expected == 0).any()  # or nothing shows that what is negative is cut off
    np.testing.assert_allclose(maps, normalised(expected), rtol=1e-3, atol=1e-5)


def test_grad_cam_of_a_net_with_a_linear_head_is_the_class_activation_map(
    finished_run, freezer_of, settings, variables_of
):
    """Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", equation 2."""
    run = finished_run("mobilenet_v1_025")
    config = settings(run)
    checkpoint, freezer = str(run / "model.ckpt-7"), freezer_of(config, 96)
    images, classes = noise(3, 96, 96, 3).repeat(3, axis=0), np.tile([2, 0, 1], 3)
    net = freezer.frozen(checkpoint, config)
    maps = explanation.grad_cam(freezer, net, config, images, classes)
    assert maps.shape == (9, 3, 3)
    with freezer.restored(checkpoint, config) as session:
        end_point = freezer.end_points["Conv2d_13_pointwise"]
        features = session.run(end_point, {freezer.images: images})
    name = "MobilenetV1/Logits/Conv2d_1c_1x1/weights/ExponentialMovingAverage"
    head = variables_of(checkpoint)[name][0, 0]  # [256, 3]
    expected = np.einsum("nhwc,cn->nhw", features, head[:, classes])
    np.testing.assert_allclose(maps, normalised(np.maximum(expected, 0)), rtol=1e-3, atol=1e-5)


def test_a_map_without_anything_stays_zero(finished_run, freezer_of, settings):
    """Before the first step biases are 0, and so is all that LeNet makes of a picture of zeros."""
    run = finished_run("lenet")
    config, images = settings(run), np.zeros([1, 8, 8, 3], np.float32)
    freezer = freezer_of(config)
    net = freezer.frozen(str(run / "model.ckpt-0"), config)
    maps = explanation.grad_cam(freezer, net, config, images, np.array([1]))
    np.testing.assert_array_equal(maps, np.zeros([1, 2, 2]))


def test_the_map_of_a_colour_is_where_that_colour_is(colour_run, freezer_of, settings):
    config = settings(colour_run)
    images = np.full([3, 8, 8, 3], -0.5, np.float32)  # of -1..1
    images[0, :, :4, 0] = images[1, :, 4:, 1] = images[2, :4, :, 2] = 0.5
    images[0, :, 4:, 1] = images[1, :, :4, 2] = images[2, 4:, :, 0] = 0.5
    freezer = freezer_of(config)
    net = freezer.frozen(str(colour_run / "model.ckpt-60"), config)
    maps = explanation.grad_cam(freezer, net, config, images, np.arange(3))
    left, right, top = maps[0].mean(axis=0), maps[1].mean(axis=0), maps[2].mean(axis=1)
    assert left[0] > 2 * left[1]
    assert right[1] > 2 * right[0]
    assert top[0] > 2 * top[1]


MEAN = np.array([123.68, 116.78, 103.94], np.float32)  # of ImageNet, in red, green and blue
COLOURS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and deviation, of 1


@pytest.mark.parametrize(
    ("recipe", "channels", "prepare"),
    [
        ("inception", 3, lambda pixels: pixels / 127.5 - 1),
        ("lenet", 1, lambda pixels: (pixels - 128) / 128),
        ("vgg", 3, lambda pixels: pixels - MEAN),
        ("vgg", 1, lambda pixels: pixels - MEAN @ np.float32([0.2989, 0.5870, 0.1140])),
        ("imagenet", 3, lambda pixels: (pixels / 255 - COLOURS[0]) / COLOURS[1]),
        # Of grey by hand: 0.2989 x 0.485 + 0.5870 x 0.456 + 0.1140 x 0.406, and so the deviations.
        ("imagenet", 1, lambda pixels: (pixels / 255 - 0.4589225) / 0.2255861),
    ],
)
def test_prepared_pictures_get_their_colours_back(recipe, channels, prepare):
    config = core_flags.parse(flags.define_evaluation, [f"--preprocessing_name={recipe}"])
    pixels = np.random.RandomState(0).randint(50, 200, (2, 6, 6, channels)).astype(np.float32)
    found = explanation.as_seen(prepare(pixels), config)
    np.testing.assert_allclose(found, pixels / 255, atol=1e-6)


def test_standardised_pictures_are_shown_from_black_to_white():
    config = core_flags.parse(flags.define_evaluation, ["--preprocessing_name=cifarnet"])
    pixels = np.random.RandomState(0).randint(50, 200, (3, 6, 6, 3)).astype(np.float32)
    pixels[0, 0, :2, 0], pixels[1, 0, :2, 0] = (0, 255), (50, 200)
    pixels[2] = 77
    prepared = np.stack([(one - one.mean()) / max(one.std(), 0.1) for one in pixels])
    found = explanation.as_seen(prepared, config)
    np.testing.assert_allclose(found[0], pixels[0] / 255, atol=1e-5)
    np.testing.assert_allclose(found[1], (pixels[1] - 50) / 150, atol=1e-5)
    assert (found[2] == 0).all()


def test_a_cold_place_is_the_picture_in_grey_and_a_hot_one_bright():
    image = np.tile(np.float32([1, 0, 0]), (4, 4, 1))
    grey = np.full(3, 0.2989)  # of red, ITU-R BT.601
    cold = explanation.overlay(image, np.zeros([2, 2], np.float32))
    np.testing.assert_allclose(cold, np.broadcast_to(grey, (4, 4, 3)), atol=1e-6)
    hot = explanation.overlay(image, np.ones([1, 3], np.float32))
    bright = 0.7 * np.array(matplotlib.colormaps["viridis"](1.0)[:3]) + 0.3 * grey
    np.testing.assert_allclose(hot, np.broadcast_to(bright, (4, 4, 3)), atol=1e-6)


def test_a_map_is_enlarged_bilinearly():
    """Of 2 places on 8 pixels the centres are pixels 1.5 and 5.5; beyond them it is flat."""
    found = explanation.overlay(np.zeros([8, 8, 3], np.float32), np.float32([[0, 1], [0, 1]]))
    heat = np.array([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    expected = 0.7 * heat[:, np.newaxis] * matplotlib.colormaps["viridis"](heat)[:, :3]
    np.testing.assert_allclose(found, np.broadcast_to(expected, (8, 8, 3)), atol=1e-6)


def test_mistakes_are_explained_with_both_of_their_classes(
    finished_run, make_dataset, load, freezer_of, settings
):
    run, split = finished_run("lenet"), load(make_dataset(), "test")
    config = settings(run)
    freezer, scores = freezer_of(config), Scores(3)
    net = freezer.frozen(str(run / "model.ckpt-7"), config)
    # Softmax of (0, log 3, log 4) is 1/8, 3/8, 1/2.
    scores.add(np.tile(np.log(np.float32([1, 3, 4])), (5, 1)), np.array([0, 1, 2, 0, 1]))
    chosen = mistakes.most_confident(scores, 3)
    assert [mistake.index for mistake in chosen] == [0, 1, 3]
    found = explanation.explain(chosen, scores, split, freezer, net, config)
    assert [one.mistake for one in found] == chosen
    assert [one.label_probability for one in found] == pytest.approx([1 / 8, 3 / 8, 1 / 8])
    images = mistakes.prepared(split, [0, 1, 3], config)
    for classes, maps in (
        ([2, 2, 2], [one.prediction_map for one in found]),
        ([0, 1, 0], [one.label_map for one in found]),
    ):
        expected = explanation.grad_cam(freezer, net, config, images, np.array(classes))
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([one.image for one in found], (images * 128 + 128) / 255, atol=1e-6)
    assert explanation.explain([], scores, split, freezer, net, config) == []


def explained(name="a.png", channels=3, colour=(255, 0, 0)):
    image = np.zeros([8, 8, channels], np.float32)
    image[:] = np.float32(colour[:channels]) / 255
    mistake = Mistake(7, name, label=0, prediction=1, probability=0.75)
    left = np.float32([[1, 0], [1, 0]])
    return Explained(mistake, 0.25, image, left, np.zeros([2, 2], np.float32))


def panels(path):
    """The middles of left and right of the three pictures of a file: uint8 [3, 2, 3]."""
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
    height, width, _ = pixels.shape
    columns = [[width * (2 * i + 0.2) / 6, width * (2 * i + 1.8) / 6] for i in range(3)]
    return pixels[height * 2 // 3, np.array(columns).astype(int)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_drawing_holds_the_picture_and_both_maps(tmp_path, channels):
    explanation.write(tmp_path / "explain", [explained(channels=channels)], ["cat", "dog"])
    seen, prediction, label = panels(tmp_path / "explain" / "001.png").astype(int)
    red = [255, 0, 0] if channels == 3 else [255] * 3
    grey = round(0.2989 * 255) if channels == 3 else 255
    assert (seen == red).all()
    assert np.abs(prediction[1] - grey).max() <= 1  # the map is cold on the right
    assert np.ptp(prediction[0]) > 50  # and coloured on the left
    assert np.abs(label - grey).max() <= 1


def test_drawings_take_the_place_of_those_before(tmp_path):
    red, blue = explained(), explained(colour=(0, 0, 255))
    explanation.write(tmp_path, [red] * 2, ["cat", "dog"])
    (tmp_path / "notes.png").write_bytes(b"mine")
    explanation.write(tmp_path, [blue], ["cat", "dog"])
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["001.png", "notes.png"]
    assert (panels(tmp_path / "001.png")[0] == [0, 0, 255]).all()
    explanation.write(tmp_path, [], ["cat", "dog"])
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["notes.png"]


def test_a_failure_leaves_the_drawings_as_they_were(tmp_path):
    names = ["cat", "dog"]
    explanation.write(tmp_path, [explained()] * 2, names)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = explained()._replace(image=np.zeros([8, 8, 2], np.float32))
    with pytest.raises(ValueError, match="mismatch"):
        explanation.write(tmp_path, [explained(colour=(0, 0, 255)), broken], names)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    del before[".lock"], after[".lock"]
    assert after == before


def test_names_of_any_kind_are_drawn_without_a_warning(tmp_path):
    names = ["$x_1$ of \\frac", "郁金香 " + 50 * "W"]
    mistake = explained("\udcff/$a$/" + 200 * "long\n" + ".png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation.write(tmp_path, [mistake], names)
    pixels = np.asarray(PIL.Image.open(tmp_path / "001.png").convert("L"))
    rows = pixels[: len(pixels) // 6]  # above the pictures
    assert (rows[:, [0, 1, -2, -1]] == 255).all()  # nothing runs out of the picture
    between = pixels.shape[1] * 2 // 3
    assert (rows[len(rows) // 2 :, between - 3 : between + 3] == 255).all()
