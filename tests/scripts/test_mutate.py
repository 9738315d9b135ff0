"""What scripts/mutate.py changes in a file."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("mutmut")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from mutate import Mutant, mutants_of

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
