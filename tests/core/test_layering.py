"""The rules of the house that no single module can hold by itself, read off the source."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Package -> the packages of ours that it may import, besides itself.
MAY_IMPORT = {
    "core": set(),
    "datasets": {"core"},
    "preprocessing": {"core"},
    "nets": {"core"},
    "engine": {"core", "datasets", "preprocessing", "nets"},
    "inference": {"core", "datasets", "preprocessing", "nets", "engine"},
    "benchmarks": {"core", "datasets", "preprocessing", "nets", "engine", "inference"},
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
SOURCES = sorted(
    [path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")]
    + list(ROOT.glob("*.py"))
)

every_source = pytest.mark.parametrize(
    "path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES]
)


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    """Full names of what a file imports, inside of functions too."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def package(path):
    """The package that a file belongs to; "" for a script."""
    return path.relative_to(ROOT).parts[0] if path.parent != ROOT else ""


def files_with(is_found):
    found = (path for path in SOURCES if any(is_found(node) for node in nodes(path)))
    return {str(path.relative_to(ROOT)) for path in found}


def test_all_packages_are_looked_at():
    assert {"", *MAY_IMPORT} == set(map(package, SOURCES))
    assert {"train_image_classifier", "eval_image_classifier"} <= SCRIPTS


@every_source
def test_imports_go_one_way(path):
    ours = {name.split(".")[0] for name in imports(path)} & (MAY_IMPORT.keys() | SCRIPTS)
    allowed = MAY_IMPORT.get(package(path), MAY_IMPORT.keys())
    assert ours <= {package(path), *allowed}


@every_source
def test_places_in_the_registries_go_one_way_too(path):
    texts = [node.value for node in nodes(path) if isinstance(node, ast.Constant)]
    places = [re.fullmatch(r"(\w+)(\.\w+)+:\w+", text) for text in texts if isinstance(text, str)]
    packages = {place[1] for place in places if place}
    assert packages <= {package(path), *MAY_IMPORT.get(package(path), MAY_IMPORT.keys())}


def test_tensorflow_is_imported_in_one_place():
    libraries = {"tensorflow", "tf_slim", "tf_keras"}
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if {name.split(".")[0] for name in imports(path)} & libraries
    }
    # The second is for the number of the version alone.
    assert found == {"core/compat.py"}


def test_the_keys_of_records_stand_in_one_place():
    key = re.compile(r"image/(encoded|format|class|height|width|filename|channels|colorspace)\b.*")
    found = files_with(
        lambda node: (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and key.fullmatch(node.value)
        )
    )
    assert found == {"datasets/tfrecord.py"}


def test_the_flags_of_the_process_are_read_by_what_starts_scripts_alone():
    def is_flags(node):
        if isinstance(node, ast.Attribute) and node.attr == "FLAGS":
            return ast.unparse(node) != "ExitCode.FLAGS"
        return isinstance(node, ast.alias) and node.name == "FLAGS"

    found = files_with(is_flags)
    assert found <= {"core/script.py", "core/flags.py", "engine/flags/__init__.py"}
    assert "core/script.py" in found


def test_records_are_never_skipped_by_ignore_errors():
    # tf.data's method drops the rest of a damaged file, and spins for ever on a missing one.
    def is_method(node):
        return isinstance(node, ast.Attribute | ast.alias) and "ignore_errors" in (
            getattr(node, "attr", ""),
            getattr(node, "name", ""),
        )

    assert files_with(is_method) == set()


@pytest.mark.parametrize("module", ["pickle", "marshal", "shelve", "joblib"])
def test_nothing_is_unpickled(module):
    assert not [path for path in SOURCES if module in {n.split(".")[0] for n in imports(path)}]


def test_archives_are_never_extracted():
    extract = {"extractall", "extract", "unpack_archive"}
    assert files_with(lambda node: getattr(node, "attr", "") in extract) == set()
