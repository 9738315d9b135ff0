"""The screens of stored results as a person checked them, at two widths."""

from pathlib import Path

import pytest

from tests.golden import assert_golden, run
from tests.profiles import FLOAT16

PROFILES = FLOAT16.parent
MAPS = PROFILES / "maps"
TOKENS = PROFILES / "tokens"

SCREENS: dict[str, tuple[str | Path, ...]] = {
    "explain-expected": ("explain", FLOAT16),
    "explain-varies": ("explain", PROFILES / "llama-3.2-1b-float16-700-tokens"),
    "explain-flips": ("explain", TOKENS / "smollm2"),
    "flips-trained": ("flips", TOKENS / "smollm2" / "flips.json"),
    "flips-random": ("flips", TOKENS / "flips_prefill.json"),
    "determinism": ("determinism", TOKENS / "determinism.json"),
    "map": ("map", MAPS / "llama-3-8b-bfloat16-h100.json", "--buckets", "1,2,4,8,16,32"),
    "map-invariant": ("map", MAPS / "llama-3-8b-bfloat16-h200-fixed-chunk-no-workspace-fused-norm.json"),
    "map-diff": ("diff", MAPS / "llama-3-8b-float16-h100.json", MAPS / "llama-3-8b-float16-h200.json"),
    "remedies": ("remedies", PROFILES / "remedies" / "llama-3-8b-bfloat16-h200-every.json"),
}


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen(name, columns):
    screen = run(*SCREENS[name], columns=columns)
    assert max(map(len, screen.splitlines())) <= columns
    assert_golden(screen, f"results/{name}-{columns}.txt")
