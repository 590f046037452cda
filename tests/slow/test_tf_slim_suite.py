"""tf-slim's own tests, with nothing but `import core.compat` before them.

They ship in its wheel. Those that do not pass are listed in tf_slim_known_failures.txt with the
cause, and the list has to be exact: a new failure is noticed, and so is a mended one.
"""

import collections
import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOWN_FAILURES = Path(__file__).with_name("tf_slim_known_failures.txt")
FILES = 35
PASSED = 1317
PROCESSES = 2
SECONDS_PER_FILE = 3000

# These take longest, so they start first.
LONGEST = ("metric_ops_test", "inception_v3_test", "resnet_v2_test", "inception_v2_test")

# Runs one test module and prints {test: passed | skipped | failed}. A test has failed that fails in
# setUp or in a subtest, and a module that cannot be imported counts as one failed test.
RUN = """
import core.compat, importlib, json, sys, unittest
from absl import flags

class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.by_test = {}
    def startTest(self, test):
        super().startTest(test)
        self.by_test[test.id()] = "passed"
    def addSkip(self, test, reason):
        self.by_test[test.id()] = "skipped"
    def addError(self, test, error):
        self.by_test[test.id()] = "failed"
        print(test.id(), self._exc_info_to_string(error, test), file=sys.stderr)
    addFailure = addError
    def addSubTest(self, test, subtest, error):
        if error:
            self.addError(test, error)

flags.FLAGS(sys.argv[:1])
outcomes = Outcomes()
try:
    module = importlib.import_module(sys.argv[1])
except ImportError:
    outcomes.by_test[sys.argv[1]] = "failed"
else:
    unittest.defaultTestLoader.loadTestsFromModule(module).run(outcomes)
print("outcomes:" + json.dumps(outcomes.by_test))
"""


def suite_modules():
    package = Path(importlib.util.find_spec("tf_slim").origin).parent
    names = [
        ".".join(("tf_slim", *path.relative_to(package).with_suffix("").parts))
        for path in sorted(package.rglob("*_test.py"))
    ]
    return sorted(names, key=lambda name: not name.endswith(LONGEST))


def outcomes_of(module):
    """{test: passed | skipped | failed} of one test module of tf-slim."""
    result = subprocess.run(
        [sys.executable, "-c", RUN, module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS_PER_FILE,
        check=False,
    )
    # The tests print too.
    last = result.stdout.rpartition("outcomes:")[2]
    assert result.returncode == 0, f"{module} did not run to its end:\n{result.stderr[-4000:]}"
    return json.loads(last)


def known_failures():
    lines = KNOWN_FAILURES.read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


@pytest.mark.timeout(3 * SECONDS_PER_FILE)
def test_tf_slim_passes_its_own_tests():
    modules = suite_modules()
    assert len(modules) == FILES
    with ThreadPoolExecutor(PROCESSES) as pool:
        outcomes = dict(zip(modules, pool.map(outcomes_of, modules), strict=True))
    counts = {module: collections.Counter(tests.values()) for module, tests in outcomes.items()}
    total = sum(counts.values(), collections.Counter())
    print(f"\n{'':45} passed failed skipped")
    for name, count in [*sorted(counts.items()), ("total", total)]:
        print(f"{name:45} {count['passed']:6} {count['failed']:6} {count['skipped']:7}")
    everything = {test: outcome for tests in outcomes.values() for test, outcome in tests.items()}
    failed = {test for test, outcome in everything.items() if outcome == "failed"}
    assert failed == known_failures()
    assert total["passed"] >= PASSED
