"""What scripts/mutate.py changes in a file."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("mutmut")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from mutate import Coverage, Mutant, mutants_of, outcome

SOURCE = '''
"""A module."""

LIMIT = 3

class Box:
    @property
    def full(self) -> "int | None":
        """Whether it is full."""
        if self.count >= LIMIT:
            self.warn("full")
        return self.count
'''


@pytest.fixture(scope="module")
def mutants():
    return mutants_of(Path("tracediff/box.py"), SOURCE)


def changed(mutants: list[Mutant]) -> set[str]:
    return {mutant.after.splitlines()[mutant.line - 1].strip() for mutant in mutants}


def test_constants_conditions_strings_and_statements_change(mutants):
    assert {
        "LIMIT = 4",
        "if self.count > LIMIT:",
        "if not (self.count >= LIMIT):",
        'self.warn("XXfullXX")',
        "pass",
    } <= changed(mutants)


def test_annotations_and_docstrings_stay(mutants):
    assert all('"int | None"' in mutant.after and "Whether it is full." in mutant.after for mutant in mutants)


def test_every_mutant_compiles_differs_and_names_the_line_that_differs(mutants):
    for mutant in mutants:
        compile(mutant.after, "mutant", "exec")
        before, after = mutant.before.splitlines(), mutant.after.splitlines()
        assert (
            before[: mutant.line - 1] == after[: mutant.line - 1] and before[mutant.line - 1] != after[mutant.line - 1]
        )
    assert len({mutant.after for mutant in mutants}) == len(mutants)


TESTED = "def limit():\n    return 3\n"


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("def test_limit():\n    assert limit() == 3\n", "killed"),
        ("def test_limit():\n    assert limit() > 0\n", "SURVIVED"),
        ("import pytest\n\n@pytest.mark.slow\ndef test_limit():\n    assert limit() == 3\n", "killed"),
        ("def test_limit():\n    while limit() != 3:\n        pass\n", "timeout"),
    ],
)
def test_a_mutant_is_killed_by_a_test_that_fails_or_does_not_end(tmp_path, monkeypatch, test, expected):
    if expected == "timeout":
        monkeypatch.setattr("mutate.SECONDS", 5)
    (tmp_path / "box.py").write_text(TESTED)
    (tmp_path / "test_box.py").write_text(f"from box import limit\n{test}")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes long\n")
    mutant = Mutant(Path("box.py"), TESTED, TESTED.replace("3", "4"), 2)
    reached = Coverage([], {Path("box.py"): {2: frozenset({"test_box.py::test_limit"})}})
    assert outcome(mutant, tmp_path, reached, markers="") == expected
    assert (tmp_path / "box.py").read_text() == TESTED


def test_a_line_that_no_test_reaches_is_said_to_have_none(tmp_path):
    mutant = Mutant(Path("box.py"), TESTED, TESTED.replace("3", "4"), 2)
    assert outcome(mutant, tmp_path, Coverage([], {}), markers="") == "NO TESTS"


def test_a_line_of_a_table_is_tried_with_all_tests_though_some_only_run_a_lambda_beside_it():
    source = "RULES = [\n    dict(\n        when=lambda: True,\n        says='a',\n    ),\n]\n"
    path = Path("rules.py")
    reached = Coverage(["tests"], {path: {1: frozenset({""}), 3: frozenset({"", "a::b"}), 4: frozenset({""})}})
    says = Mutant(path, source, source.replace("'a'", "'b'"), 4)
    assert reached.of(says) == (["a::b"], ["tests"])
    when = Mutant(path, source, source.replace("True", "False"), 3)
    assert reached.of(when) == (["a::b"], ["a"])
