"""docs/invariance.md says what profiles/ holds."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "document_invariance.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("document_invariance", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_table_of_the_page_is_what_the_script_makes_of_the_profiles(script):
    text = script.DOCUMENT.read_text(encoding="utf-8")
    assert script.rewritten(text, *script.measured()) == text


def test_the_profiles_of_maps_take_at_most_four_megabytes(script):
    files = [path.stat().st_size for path in (script.ROOT / "profiles" / "maps").glob("*.json")]
    assert sum(files) <= 4_000_000


def test_no_sixteen_bit_product_changed_bits_without_its_split_or_algorithm(script):
    maps, _ = script.measured()
    for name, found in maps.items():
        if found.dtype == "float32":
            continue
        for part in found.parts:
            if part.kind == "product":
                assert script._split_steps(part)[False, False] == 0, (name, part.name)
