"""Learning rates and updates against values worked out by hand."""

import itertools

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from engine import model, optimization
from engine.flags import OPTIMIZERS
from engine.model import Classifier


@pytest.fixture
def steps(configured):
    """steps(count, "--flag=value", ..., loss=) minimises a loss of w from w = 1 at rate 0.1.

    Gives the value of w and of its moving average (None without one) after each step.
    """

    def steps(count, *arguments, loss=tf.square):
        config = configured(*arguments)
        with tf.Graph().as_default(), tf.Session() as session:
            tf.train.create_global_step()
            w = slim.model_variable("w", [], initializer=tf.ones_initializer())
            value = loss(w)
            classifier = Classifier(None, None, {}, value, value, None)
            train_op = optimization.train_ops(classifier, tf.constant(0.1), [w], config).at(1)
            averages = [v for v in tf.global_variables() if "ExponentialMovingAverage" in v.op.name]
            session.run(tf.global_variables_initializer())
            found = []
            for _ in range(count):
                session.run(train_op)
                found.append((session.run(w), session.run(averages[0]) if averages else None))
            assert session.run(tf.train.get_global_step()) == count
        return found

    return steps


# Of the loss w^2, whose gradient is 2w: first 2, then twice the first result.
UPDATES = {
    # 1 - 0.1 * 2; 0.8 - 0.1 * 1.6
    "sgd": (["--optimizer=sgd"], [0.8, 0.64]),
    # a = 2: 1 - 0.1 * 2; a = 0.9 * 2 + 1.6 = 3.4: 0.8 - 0.1 * 3.4
    "momentum": (["--optimizer=momentum"], [0.8, 0.46]),
    # a = 0.5 * 2 + 1.6 = 2.6
    "momentum 0.5": (["--optimizer=momentum", "--momentum=0.5"], [0.8, 0.54]),
    # With the next step of the momentum: 1 - 0.1 * (2 + 0.9 * 2); w = 0.62, g = 1.24,
    # a = 0.9 * 2 + 1.24 = 3.04: 0.62 - 0.1 * (1.24 + 0.9 * 3.04)
    "momentum nesterov": (["--optimizer=momentum", "--use_nesterov"], [0.62, 0.2224]),
    # m/(1-0.9) = 2, v/(1-0.999) = 4: 1 - 0.1 * 2/2. Then m = 0.9 * 0.2 + 0.1 * 1.8 = 0.36, over
    # 0.19 = 1.894737; v = 0.999 * 0.004 + 0.001 * 1.8^2 = 0.007236, over 0.001999 = 3.619810;
    # 0.9 - 0.1 * 1.894737 / sqrt(3.619810)
    "adam": (["--optimizer=adam"], [0.9, 0.8004122]),
    # TensorFlow adds epsilon to sqrt(v) before the correction of v's bias:
    # 1 - 0.1 * sqrt(0.001) / 0.1 * 0.2 / (sqrt(0.004) + 1)
    "adam epsilon 1": (["--optimizer=adam", "--opt_epsilon=1.0"], [0.9940516]),
    # 0.1 + 4 = 4.1: 1 - 0.2 / sqrt(4.1); 4.1 + 1.802454^2 = 7.348841: - 0.1802454 / sqrt(7.348841)
    "adagrad": (["--optimizer=adagrad"], [0.9012270, 0.8347372]),
    # The mean square starts at 1: 0.9 + 0.1 * 4 = 1.3, epsilon 1: step 0.2 / sqrt(2.3) = 0.1318761;
    # 1.17 + 0.1 * 1.7362478^2 = 1.4714557: step 0.9 * 0.1318761 + 0.17362478 / sqrt(2.4714557)
    "rmsprop": (["--optimizer=rmsprop"], [0.8681239, 0.6389934]),
    # 0.2 / sqrt(1.3)
    "rmsprop epsilon": (["--optimizer=rmsprop", "--opt_epsilon=1e-10"], [0.8245884]),
    # 0.05 * 4 = 0.2: 1 - 0.1 * 2 * sqrt(1e-8) / sqrt(0.2)
    "adadelta": (["--optimizer=adadelta"], [0.99995528]),
    # n = 0.1 + 4 = 4.1, sigma = (sqrt(4.1) - sqrt(0.1)) / 0.1 = 17.086180, z = 2 - sigma * 1;
    # -z / (sqrt(4.1) / 0.1)
    "ftrl": (["--optimizer=ftrl"], [0.7450532]),
    # |z| less 1 in the numerator: 14.086180 / 20.248457
    "ftrl l1": (["--optimizer=ftrl", "--ftrl_l1=1.0"], [0.6956668]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_updates(steps, name):
    arguments, expected = UPDATES[name]
    found = [w for w, _ in steps(len(expected), *arguments)]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_every_optimizer_has_an_update_above():
    assert {name.split()[0] for name in UPDATES} == set(OPTIMIZERS)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss_of_a_net(configured, optimizer):
    config = configured(f"--optimizer={optimizer}")
    noise = np.random.RandomState(0)
    inputs = noise.normal(size=(32, 5)).astype(np.float32)
    labels = inputs[:, :3].argmax(axis=1)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        tf.train.create_global_step()
        logits = slim.fully_connected(slim.fully_connected(inputs, 8), 3, activation_fn=None)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        # Adadelta's first steps are sqrt(1e-8) of the rate.
        rate = tf.constant(100.0 if optimizer == "adadelta" else 0.05)
        variables = tf.trainable_variables()
        train_op = optimization.train_ops(
            Classifier(None, logits, {}, loss, loss, None), rate, variables, config
        ).at(1)
        session.run(tf.global_variables_initializer())
        losses = [session.run(train_op) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_gradients_are_clipped_by_their_global_norm(configured):
    config = configured("--optimizer=sgd", "--clip_gradient_norm=1.0")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step()
        a, b = (tf.get_variable(name, initializer=0.0) for name in "ab")
        loss = 3 * a + 4 * b  # norm 5
        classifier = Classifier(None, None, {}, loss, loss, None)
        train_op = optimization.train_ops(classifier, tf.constant(1.0), [a, b], config).at(1)
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        assert session.run([a, b]) == pytest.approx([-0.6, -0.8])


@pytest.mark.parametrize("norm", [2.0, 0.0])
def test_small_gradients_are_not_clipped(steps, norm):
    ((w, _),) = steps(1, "--optimizer=sgd", f"--clip_gradient_norm={norm}")
    assert w == pytest.approx(0.8)


def test_moving_averages(steps):
    # w is 1, 0.8, 0.64, 0.512; the average starts at 1. At global step n, after the step, the decay
    # is min(0.3, (1 + n) / (10 + n)): 2/11, 3/12, then 0.3.
    first = 2 / 11 * 1 + 9 / 11 * 0.8
    second = 0.25 * first + 0.75 * 0.64
    third = 0.3 * second + 0.7 * 0.512
    found = [average for _, average in steps(3, "--optimizer=sgd", "--moving_average_decay=0.3")]
    np.testing.assert_allclose(found, [first, second, third], rtol=1e-6)


def test_decoupled_weight_decay(configured):
    """Weights lose rate x decay of what they were; the step is that of the gradient at the old."""
    config = configured("--optimizer=momentum", "--decoupled_weight_decay=0.5")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step()
        names = ("net/weights", "net/biases", "net/depthwise_weights")
        variables = [tf.get_variable(name, initializer=2.0) for name in names]
        loss = tf.add_n([tf.square(v) for v in variables])
        classifier = Classifier(None, None, {}, loss, loss, None)
        train_op = optimization.train_ops(classifier, tf.constant(0.1), variables, config).at(1)
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        # 2 - 0.1 * 0.5 * 2 - 0.1 * 4, the others without the middle
        assert session.run(variables) == pytest.approx([1.5, 1.6, 1.6])
        session.run(train_op)
        # a = 0.9 * 4 + 3 = 6.6: 1.5 * 0.95 - 0.66; a = 3.6 + 3.2 = 6.8: 1.6 - 0.68
        assert session.run(variables) == pytest.approx([0.765, 0.92, 0.92])


def test_a_variable_that_the_loss_does_not_use(steps):
    with pytest.raises(FlagError, match="the loss does not depend on w"):
        steps(1, loss=lambda w: tf.square(tf.zeros_like(w)))


RATES = {
    "fixed": (["--learning_rate_decay_type=fixed"], {0: 0.1, 7: 0.1, 1000: 0.1}),
    # int(10 * 2 / 4) = 5 steps per decay, in stairs.
    "exponential": (["--learning_rate_decay_factor=0.5"], {0: 0.1, 4: 0.1, 5: 0.05, 10: 0.025}),
    # int(10 * 0.9 / 4) = 2
    "decay steps are cut": (["--num_epochs_per_decay=0.9"], {1: 0.1, 2: 0.094, 4: 0.08836}),
    # (0.1 - 0.01) * (1 - step / 5) + 0.01
    "polynomial": (
        ["--learning_rate_decay_type=polynomial", "--end_learning_rate=0.01"],
        {0: 0.1, 1: 0.082, 4: 0.028, 5: 0.01, 50: 0.01},
    ),
    # 10 / 4 * 2 = 5 steps from 0
    "fixed, warm-up": (
        ["--learning_rate_decay_type=fixed", "--warmup_epochs=2"],
        {0: 0.0, 1: 0.02, 4: 0.08, 5: 0.1, 9: 0.1},
    ),
    "exponential, warm-up": (
        ["--learning_rate_decay_factor=0.5", "--warmup_epochs=2"],
        {0: 0.0, 4: 0.08, 5: 0.05},
    ),
    "polynomial, warm-up": (
        *(["--learning_rate_decay_type=polynomial", "--warmup_epochs=2"],),
        {1: 0.02, 2: 0.04, 3: 0.04006, 4: 0.02008},  # (0.1 - 0.0001) * (1 - step / 5) + 0.0001
    ),
    # 10 / 4 * 4 = 10 steps; 0.01 + 0.09 * (1 + cos(pi * step / 10)) / 2, cos(0.3 pi) = 0.5877853
    "cosine": (
        [
            *("--learning_rate_decay_type=cosine", "--end_learning_rate=0.01"),
            "--num_epochs_per_decay=4",
        ],
        {0: 0.1, 3: 0.08145034, 5: 0.055, 10: 0.01, 99: 0.01},
    ),
    # 2.5 * 0.8 = 2 steps up, 8 down to 0.02
    "one_cycle": (
        [
            *("--learning_rate_decay_type=one_cycle", "--end_learning_rate=0.02"),
            *("--num_epochs_per_decay=4", "--warmup_epochs=0.8"),
        ],
        {0: 0.0, 1: 0.05, 2: 0.1, 3: 0.09, 6: 0.06, 10: 0.02, 99: 0.02},
    ),
}


RATES |= {
    "head only, fixed": (
        *(["--learning_rate_decay_type=fixed", "--head_only_steps=3"],),
        {0: 0.1, 2: 0.1, 3: 0.1, 9: 0.1},
    ),
    # As "exponential" above, three steps later and from 0.01.
    "head only, exponential": (
        [
            *("--learning_rate_decay_factor=0.5", "--head_only_steps=3"),
            "--finetune_learning_rate=0.01",
        ],
        {0: 0.1, 2: 0.1, 3: 0.01, 7: 0.01, 8: 0.005, 13: 0.0025},
    ),
    "head only, warm-up": (
        [
            *("--learning_rate_decay_type=fixed", "--warmup_epochs=2", "--head_only_steps=3"),
            "--finetune_learning_rate=0.05",
        ],
        {0: 0.1, 2: 0.1, 3: 0.0, 4: 0.01, 7: 0.04, 8: 0.05, 9: 0.05},
    ),
}


@pytest.mark.parametrize("name", RATES)
def test_learning_rate(configured, name):
    arguments, expected = RATES[name]
    config = configured("--learning_rate=0.1", *arguments)
    with tf.Graph().as_default(), tf.Session() as session:
        global_step = tf.train.create_global_step()
        rate = optimization.make_learning_rate(10, config)
        found = {}
        for step in expected:
            global_step.load(step, session)
            found[step] = session.run(rate)
    assert found == pytest.approx(expected, rel=1e-5)


def test_one_cycle_that_only_rises(configured):
    arguments = ["--learning_rate_decay_type=one_cycle", "--warmup_epochs=2"]
    with tf.Graph().as_default():
        tf.train.create_global_step()
        message = "--warmup_epochs=2.0 is not less than --num_epochs_per_decay=2.0"
        with pytest.raises(FlagError, match=message):
            optimization.make_learning_rate(10, configured(*arguments))


@pytest.mark.parametrize("schedule", ["exponential", "polynomial", "cosine", "one_cycle"])
def test_a_decay_of_less_than_a_step(configured, schedule):
    arguments = [f"--learning_rate_decay_type={schedule}", "--num_epochs_per_decay=0.3"]
    with tf.Graph().as_default():
        tf.train.create_global_step()
        message = "--num_epochs_per_decay=0.3 is less than one step of 4 of 10 images"
        with pytest.raises(FlagError, match=message):  # int(10 * 0.3 / 4) = 0
            optimization.make_learning_rate(10, configured(*arguments))


@pytest.fixture
def tiny_net():
    """tiny_net() is a Classifier of a net like LeNet of two layers, and its variables by name."""

    def tiny_net():
        tf.set_random_seed(0)
        tf.train.create_global_step()
        inputs = tf.constant(np.random.RandomState(0).normal(size=(4, 5)).astype(np.float32))
        with slim.arg_scope([slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.1)):
            net = slim.fully_connected(inputs, 6, scope="LeNet/fc3")
            logits = slim.fully_connected(net, 3, activation_fn=None, scope="LeNet/fc4")
        tf.losses.sparse_softmax_cross_entropy([0, 1, 2, 0], logits)
        loss = tf.losses.get_total_loss()
        return Classifier(None, logits, {}, loss, loss, None)

    return tiny_net


def ancestors(tensor):
    seen, ahead = set(), [tensor.op]
    while ahead:
        op = ahead.pop()
        if op not in seen:
            seen.add(op)
            ahead += [t.op for t in op.inputs] + list(op.control_inputs)
    return seen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_head_alone_and_then_all(tiny_net, configured, optimizer):
    config = configured(
        f"--optimizer={optimizer}", "--head_only_steps=2", "--moving_average_decay=0"
    )
    with tf.Graph().as_default(), tf.Session() as session:
        classifier, variables = tiny_net(), tf.trainable_variables()
        ops = optimization.train_ops(classifier, tf.constant(0.1), variables, config)
        session.run(tf.global_variables_initializer())
        found = [session.run(variables)]
        for step in range(1, 5):
            session.run(ops.at(step))
            found.append(session.run(variables))
        assert session.run(tf.train.get_global_step()) == 4
        averages = [v for v in tf.global_variables() if v.op.name.endswith("MovingAverage")]
        assert len(averages) == 4  # of each variable one
        np.testing.assert_allclose(session.run(averages[0]), found[-1][0], rtol=1e-6, atol=1e-8)
    changed = [
        [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        for before, after in itertools.pairwise(found)
    ]
    assert [v.op.name for v in variables] == [
        *("LeNet/fc3/weights", "LeNet/fc3/biases", "LeNet/fc4/weights", "LeNet/fc4/biases")
    ]
    assert changed == [[False, False, True, True]] * 2 + [[True] * 4] * 2


def test_nothing_of_the_backward_pass_below_the_head_is_computed(tiny_net, configured):
    with tf.Graph().as_default():
        classifier, config = tiny_net(), configured("--head_only_steps=2")
        variables = tf.trainable_variables()
        ops = optimization.train_ops(classifier, tf.constant(0.1), variables, config)
        backward = [
            {
                op.name.split("fc")[1][0]
                for op in ancestors(ops.at(step))
                if "MatMul_grad" in op.name
            }
            for step in (2, 3)
        ]
    assert backward == [{"4"}, {"3", "4"}]


def test_the_first_step_of_a_layer_by_adam_has_the_length_of_the_rate(tiny_net, configured):
    """Also after many of the head: its averages are as young as the layer's own steps are few."""
    config = configured("--optimizer=adam", "--head_only_steps=5")
    with tf.Graph().as_default(), tf.Session() as session:
        classifier, variables = tiny_net(), tf.trainable_variables()
        ops = optimization.train_ops(classifier, tf.constant(0.01), variables, config)
        session.run(tf.global_variables_initializer())
        for step in range(1, 6):
            session.run(ops.at(step))
        before = session.run(variables[0])
        session.run(ops.at(6))
        moved = np.abs(session.run(variables[0]) - before)
    np.testing.assert_allclose(moved[moved > 0], 0.01, rtol=1e-2)
    assert (moved > 0).sum() > 15


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [("sgd", []), ("momentum", ["Momentum"]), ("rmsprop", ["RMSProp", "RMSProp_1"])],
)
def test_the_names_of_slots(tiny_net, configured, optimizer, slots):
    """As TensorFlow gives them, with one phase and with two."""
    for steps in (0, 3):
        with tf.Graph().as_default():
            classifier = tiny_net()
            variables = tf.trainable_variables()
            before = {v.op.name for v in tf.global_variables()}
            config = configured(f"--optimizer={optimizer}", f"--head_only_steps={steps}")
            optimization.train_ops(classifier, tf.constant(0.1), variables, config)
            after = {v.op.name for v in tf.global_variables()}
            assert after - before == {f"{v.op.name}/{slot}" for v in variables for slot in slots}


def test_accumulated_steps_by_hand(configured):
    """Of the loss x w with x = 1, 3, 5, 9: steps 2 and 4 go by 2 and by 7, at a rate of 0.1."""
    config = configured(
        "--optimizer=sgd",
        "--accumulate_steps=2",
        "--clip_gradient_norm=5",
        "--moving_average_decay=0",
    )
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        w = slim.model_variable("w", [], initializer=tf.ones_initializer())
        loss = tf.gather([1.0, 3.0, 5.0, 9.0], step) * w
        mean = tf.get_variable("mean", initializer=0.0, trainable=False)  # as that of a batch norm
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, mean.assign_add(1.0).op)
        classifier = Classifier(None, None, {}, loss, loss, None)
        ops = optimization.train_ops(classifier, tf.constant(0.1), [w], config)
        session.run(tf.global_variables_initializer())
        state = {v.op.name: v for v in tf.global_variables()}
        assert set(state) == {
            "global_step",
            "w",
            "mean",
            "w/accumulated",
            "w/ExponentialMovingAverage",
        }
        found = [(session.run(ops.at(n)), session.run(state)) for n in range(1, 5)]
    assert [loss for loss, _ in found] == pytest.approx([1, 3, 5 * 0.8, 9 * 0.8])
    assert [values["global_step"] for _, values in found] == [1, 2, 3, 4]
    # The mean of 5 and 9 is clipped to 5, after it was taken.
    expected = {"w": [1, 0.8, 0.8, 0.3], "w/accumulated": [1, 0, 5, 0], "mean": [1, 2, 3, 4]}
    expected["w/ExponentialMovingAverage"] = expected["w"]
    for name, values in expected.items():
        assert [value[name] for _, value in found] == pytest.approx(values)


def test_accumulation_over_both_phases(tiny_net, configured):
    """Sums are kept of what is trained at all, and shared by the phases."""
    config = configured("--optimizer=sgd", "--head_only_steps=2", "--accumulate_steps=2")
    with tf.Graph().as_default(), tf.Session() as session:
        classifier, variables = tiny_net(), tf.trainable_variables()
        ops = optimization.train_ops(classifier, tf.constant(0.1), variables, config)
        sums = [v for v in tf.global_variables() if v.op.name.endswith("/accumulated")]
        assert {v.op.name for v in sums} == {f"{v.op.name}/accumulated" for v in variables}
        session.run(tf.global_variables_initializer())
        found = []
        for step in range(1, 5):
            session.run(ops.at(step))
            found.append({v.op.name.split("/")[1] for v in sums if session.run(v).any()})
    assert found == [{"fc4"}, set(), {"fc3", "fc4"}, set()]


def test_one_step_accumulates_nothing(tiny_net, configured):
    graphs = []
    for arguments in ([], ["--accumulate_steps=1", "--head_only_steps=0"]):
        with tf.Graph().as_default() as graph:
            classifier = tiny_net()
            optimization.train_ops(
                classifier, tf.constant(0.1), tf.trainable_variables(), configured(*arguments)
            )
            graphs.append(graph.as_graph_def().SerializeToString(deterministic=True))
            assert not [v for v in tf.global_variables() if "accumulated" in v.op.name]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("more", [[], ["--head_only_steps=1"]])
def test_layer_decay(tiny_net, configured, more):
    """The layer below the head moves, and decays, at 0.3 of the rate; the head at the whole."""
    steps, moved, gradients = len(more) + 1, {}, {}
    for decay in (1.0, 0.3):
        flags = ["--optimizer=sgd", f"--layer_decay={decay}", "--decoupled_weight_decay=0.5", *more]
        with tf.Graph().as_default(), tf.Session() as session:
            classifier, variables = tiny_net(), tf.trainable_variables()
            ops = optimization.train_ops(
                classifier, tf.constant(0.1), variables, configured(*flags)
            )
            session.run(tf.global_variables_initializer())
            for step in range(1, steps):
                session.run(ops.at(step))
            before = session.run(variables)
            gradients[decay] = session.run(tf.gradients(classifier.total_loss, variables))
            session.run(ops.at(steps))
            after = session.run(variables)
            assert session.run(tf.train.get_global_step()) == steps
        moved[decay] = [b - a for a, b in zip(before, after, strict=True)]
    for decay, rates in ((1.0, [0.1] * 4), (0.3, [0.03, 0.03, 0.1, 0.1])):
        # Of weights, not biases, half the rate is taken off.
        shares = [0.5, 0, 0.5, 0]
        for i, rate in enumerate(rates):
            expected = -rate * (gradients[decay][i] + shares[i] * before[i])
            np.testing.assert_allclose(moved[decay][i], expected, rtol=1e-4, atol=1e-6)


def test_layer_decay_in_a_net(configured):
    """LeNet's layers, from the head down: 1, 1/2, 1/4, 1/8."""
    moved = {}
    for decay in (1.0, 0.5):
        config = configured("--optimizer=sgd", f"--layer_decay={decay}")
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(0)
            tf.train.create_global_step()
            images = tf.constant(np.random.RandomState(0).normal(size=(4, 8, 8, 3)), tf.float32)
            logits, _ = model.build_net(images, 3, config, is_training=False)
            loss = tf.losses.sparse_softmax_cross_entropy([0, 1, 2, 0], logits)
            classifier = Classifier(None, logits, {}, loss, loss, None)
            weights = [v for v in tf.trainable_variables() if v.op.name.endswith("weights")]
            ops = optimization.train_ops(classifier, tf.constant(0.1), weights, config)
            session.run(tf.global_variables_initializer())
            before = session.run(weights)
            session.run(ops.at(1))
            moved[decay] = [b - a for a, b in zip(before, session.run(weights), strict=True)]
    ratios = [(b * a).sum() / (a * a).sum() for a, b in zip(moved[1.0], moved[0.5], strict=True)]
    assert ratios == pytest.approx([0.125, 0.25, 0.5, 1], rel=1e-3)


def test_the_names_of_slots_with_layer_decay(tiny_net, configured):
    """Each layer's optimizer has powers of its own, as they begin at different steps."""
    with tf.Graph().as_default():
        classifier = tiny_net()
        variables = tf.trainable_variables()
        config = configured("--optimizer=adam", "--layer_decay=0.5", "--head_only_steps=3")
        before = {v.op.name for v in tf.global_variables()}
        optimization.train_ops(classifier, tf.constant(0.1), variables, config)
        after = {v.op.name for v in tf.global_variables()}
    slots = {f"{v.op.name}/{slot}" for v in variables for slot in ("Adam", "Adam_1")}
    powers = {"beta1_power", "beta2_power", "beta1_power_1", "beta2_power_1"}
    assert after - before == slots | powers
