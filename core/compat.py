"""The only place that knows tf-slim 1.1.0 is older than TensorFlow 2.21.

It exports `tf`, the TensorFlow 1 interface, and `slim`, which is tf-slim; everything else imports
both from here, and a reader of records for which TensorFlow has no public name. tf-slim reaches
into TensorFlow by names that TensorFlow has moved since: `MOVED` lists them with the place each one
has today, and a loop puts them back where tf-slim looks. Nothing that exists is replaced. The
import fails with one line on versions it was not written for, since what holds for TensorFlow 2.21
says nothing about the next release.

It also keeps the notices of a healthy start off the terminal. `TF_CPP_MIN_LOG_LEVEL=0` in the
environment brings back those of TensorFlow's native libraries.
"""

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from core.errors import MachineError

__all__ = ["quiet", "slim", "tf", "tf_record_random_reader"]

# Distribution -> the versions this file was written for, as the start of the version number.
KNOWN_VERSIONS = {"tensorflow": "2.21.", "tf-keras": "2.21.", "tf-slim": "1.1.0"}

# (where tf-slim looks, where it is today), both below tensorflow.python.
# The comment above a row names what in tf-slim needs it.
MOVED = (
    # Asking whether a value is a tensor: batch_norm with updates_collections=None or zero_debias,
    # optimize_loss, create_train_op with gradient_multipliers.
    ("framework.ops.Tensor", "framework.tensor.Tensor"),
    # create_train_op and optimize_loss when they clip, multiply or summarize gradients.
    ("framework.ops.IndexedSlices", "framework.indexed_slices.IndexedSlices"),
    # metrics.auc_using_histogram.
    ("ops.control_flow_ops.Assert", "ops.control_flow_assert.Assert"),
    # tfexample_decoder.Image, with which tf-slim reads every image dataset.
    ("ops.control_flow_ops.case", "ops.control_flow_case.case"),
    # Layers whose is_training is a tensor, tfexample_decoder, streaming_concat.
    ("ops.control_flow_ops.cond", "ops.cond.cond"),
    # losses.metric_learning.cluster_loss.
    ("ops.control_flow_ops.while_loop", "ops.while_loop.while_loop"),
    # tfexample_decoder.Tensor with shape_keys, streaming_auc and the other curves.
    ("ops.array_ops.stack", "ops.array_ops_stack.stack"),
    # legacy_fully_connected on inputs of more than two dimensions.
    ("ops.array_ops.unstack", "ops.array_ops_stack.unstack"),
    # local_variable and global_variable, so every streaming metric.
    ("ops.variable_scope.variable", "ops.variable_v1.VariableV1"),
    # Only tf-slim's own tests: variables of either kind.
    ("ops.variables.VariableV1", "ops.variable_v1.VariableV1"),
    (
        "ops.variable_scope.disable_resource_variables",
        "ops.resource_variables_toggle.disable_resource_variables",
    ),
    (
        "ops.variable_scope.enable_resource_variables",
        "ops.resource_variables_toggle.enable_resource_variables",
    ),
    (
        "ops.variable_scope.resource_variables_enabled",
        "ops.resource_variables_toggle.resource_variables_enabled",
    ),
)

# TensorFlow loads slim.batch_norm's layer by the first name; tf-keras ships it under the second.
BATCH_NORM_MODULE = "tf_keras.legacy_tf_layers.normalization"
BATCH_NORM_MODULE_TODAY = "tf_keras.src.legacy_tf_layers.normalization"

# What the native libraries of TensorFlow say on a healthy machine, most of it while they load and
# before they have read TF_CPP_MIN_LOG_LEVEL. As an extended regular expression of grep.
NATIVE_NOTICES = "|".join(
    (
        "All log messages before absl::InitializeLog",
        "oneDNN custom operations are on",
        "Could not find cuda drivers on your machine",
        "failed call to cuInit",
    )
)

# What TensorFlow and tf-slim log about how they call each other, which no user can act on:
# batch_norm colocates its moving averages, evaluate_once asks a module that has moved for the
# checkpoint, optimizers pass a dtype to their initializers, a weight decay of 0 makes no
# regularizer, and a graph with its weights as constants is a thing of TensorFlow 1.
PYTHON_NOTICES = re.compile(
    r"tf_keras.*_colocate_with"
    r"|calling %s .*is deprecated.*tensorflow/python/training/"
    r"|is deprecated.*(convert_variables_to_constants|extract_sub_graph)"
    r"|Scale of 0 disables regularizer"
    r"|Please fix your imports.*tensorflow\.python\.training\.checkpoint_management",
    re.DOTALL,
)


def check_versions(installed: Callable[[str], str] = metadata.version) -> None:
    """Checks that the installed packages are ones this file was written for.

    Args:
        installed: version of a distribution, given its name.

    Raises:
        MachineError: a package is missing, or of another version. It is the installation that is
            wrong, so scripts exit with the code of the environment.
    """
    for distribution, known in KNOWN_VERSIONS.items():
        try:
            version = installed(distribution)
        except metadata.PackageNotFoundError:
            version = "not installed"
        if not version.startswith(known):
            wanted = f"{known}*" if known.endswith(".") else known
            raise MachineError(
                f"{distribution} is {version}, and this needs {wanted}",
                remedy=f'pip install "{distribution}=={wanted}"',
            )


def put_back(moved: Iterable[tuple[str, str]]) -> None:
    """Sets each name where tf-slim looks for it, unless there is one already.

    Args:
        moved: (where it is looked for, where it is), dotted names below tensorflow.python.

    Raises:
        MachineError: TensorFlow has no such module, or has not the name there.
    """
    for wanted, today in moved:
        try:
            (module, name), (source, source_name) = (
                (importlib.import_module(f"tensorflow.python.{path}"), attribute)
                for path, _, attribute in (wanted.rpartition("."), today.rpartition("."))
            )
            if not hasattr(module, name):
                setattr(module, name, getattr(source, source_name))
        except (ImportError, AttributeError) as error:
            raise MachineError(
                f"TensorFlow has no tensorflow.python.{today}, which tf-slim needs: {error}",
                remedy="install TensorFlow again: pip install --force-reinstall tensorflow",
            ) from error


def lazy_module(name: str, target: str) -> types.ModuleType:
    """Another name of a module, which is imported on first use.

    Args:
        name: full name that the module has for those who import it.
        target: full name of the module it stands for. tf-keras takes 0.3 s to import, and a net
            without batch normalization never asks for it.
    """

    def attribute(key: str) -> object:
        # Whoever walks sys.modules asks each module for special names, and should not load it.
        if key.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {key!r}")
        return getattr(importlib.import_module(target), key)

    module = types.ModuleType(name, f"Another name of {target}.")
    module.__getattr__ = attribute
    return module


@contextlib.contextmanager
def imported_as(name: str, module: types.ModuleType) -> Iterator[None]:
    """Lets what is imported meanwhile have that module by that name, unless there is one."""
    known = sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        if known is module:
            del sys.modules[name]


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Drops matching lines from what the process writes to its standard error meanwhile.

    Native code writes to file descriptor 2, so that is what is redirected: into a grep that writes
    on to where it led. Being a process of its own, grep still delivers the last words of a crash.
    Without a standard error or a grep nothing is dropped.

    Args:
        pattern: extended regular expression of the lines to drop.
    """
    try:
        terminal = os.dup(2)
    except OSError:
        yield
        return
    try:
        grep = subprocess.Popen(
            ["grep", "-vE", pattern],
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},  # bytes, in whatever encoding
            start_new_session=True,  # Ctrl-C is for us
        )
    except OSError:
        os.close(terminal)
        yield
        return
    try:
        os.dup2(grep.stdin.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        grep.stdin.close()
        # A process started meanwhile by another thread may hold the pipe open for longer.
        with contextlib.suppress(subprocess.TimeoutExpired):
            grep.wait(timeout=5)


class _NotLoaded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Keras where it is, and fails to load it."""

    def find_spec(self, name: str, path: Any, _: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "keras" else None
        if spec:
            spec.loader = self
        return spec

    def exec_module(self, _: types.ModuleType) -> None:
        raise ImportError("Keras is not loaded while TensorFlow is imported")


@contextlib.contextmanager
def without_keras() -> Iterator[None]:
    """Keeps TensorFlow from loading Keras while it is imported.

    TensorFlow does so for its own registries, and goes on without if that fails. It takes as long
    as all the rest of TensorFlow, with scikit-learn and Matplotlib if there are any, and nothing
    here asks for it. Who does so later gets it: `tf.keras` is loaded when it is used.
    """
    finder = _NotLoaded()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def has_cuda_driver() -> bool:
    """Whether this machine has the driver of an NVIDIA GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


check_versions()
# 2 hides warnings too: every error that TensorFlow raises is also logged as one ("OP_REQUIRES
# failed at ..."), beside the one line that the user is to read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with contextlib.ExitStack() as _stack:
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
        _stack.enter_context(without_lines(NATIVE_NOTICES))
    with without_keras():
        import tensorflow.compat.v1 as tf

    if not has_cuda_driver():
        # Without a driver the first look for GPUs logs an error, once: let it be now. With one, its
        # errors are real and GPUs may still be chosen by CUDA_VISIBLE_DEVICES, so nothing is asked.
        tf.config.list_physical_devices("GPU")

put_back(MOVED)
sys.modules.setdefault(BATCH_NORM_MODULE, lazy_module(BATCH_NORM_MODULE, BATCH_NORM_MODULE_TODAY))
logging.getLogger("tensorflow").addFilter(
    lambda record: not PYTHON_NOTICES.search(f"{record.msg} {record.args}")
)
# tf-slim's layers call TensorFlow's by `apply`, and slim.flatten is made of one of tf.layers.
warnings.filterwarnings(
    "ignore",
    message=r"`(layer\.apply|tf\.layers\.flatten)` is deprecated",
    category=UserWarning,
    module=r"tensorflow\.python\.keras\.",
)

# tf-slim imports scikit-learn for one loss, slim.losses.metric_learning.cluster_loss: 0.8 s.
with imported_as("sklearn.metrics", lazy_module("sklearn.metrics", "sklearn.metrics")):
    import tf_slim as slim
from tensorflow.python.lib.io.tf_record import tf_record_random_reader  # noqa: E402


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TensorFlow from logging what it does, and which of its functions are old."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
