"""The page docs/kernel-names.md holds every grammar word for word, as the modules' docstrings state it."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tracediff.kernels
from tracediff.kernels import parse

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kernel-names.md").read_text(encoding="utf-8")
MACHINERY = {
    "model",
    "pasted",
    "registry",
    "cpp_types",
    "mma",
    "function_words",
    "compare",
    "describe",
    "explain",
    "meanings",
}
GRAMMARS = sorted({module.name for module in pkgutil.iter_modules(tracediff.kernels.__path__)} - MACHINERY)


@pytest.mark.parametrize("module", GRAMMARS)
def test_the_page_holds_each_grammar_as_its_module_states_it(module: str) -> None:
    stated = inspect.getdoc(importlib.import_module(f"tracediff.kernels.{module}"))
    assert stated is not None
    assert stated in PAGE


def examples_of(module: str) -> list[str]:
    """The names that a grammar gives as examples."""
    stated = inspect.getdoc(importlib.import_module(f"tracediff.kernels.{module}")) or ""
    _, found, examples = stated.partition("Example")
    return examples.partition("\n\n")[0].split("`")[1::2] if found else []


EXAMPLES = [(module, name) for module in GRAMMARS for name in examples_of(module)]


def test_grammars_have_examples() -> None:
    assert len({module for module, _ in EXAMPLES}) >= 6
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize(("module", "name"), EXAMPLES)
def test_an_example_of_a_grammar_is_read_to_its_end(module: str, name: str) -> None:
    kernel = parse(name)
    assert kernel.family == module or kernel.family != "other", name
    assert kernel.unparsed is None, name
