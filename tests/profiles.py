"""The real captures that tests read."""

from pathlib import Path

PROFILES = Path(__file__).parents[1] / "profiles"
FLOAT16 = PROFILES / "llama-3-8b-float16"
BFLOAT16 = PROFILES / "llama-3-8b-bfloat16"
FLOAT32 = PROFILES / "llama-3-8b-float32"
LONG = PROFILES / "llama-3.2-1b-float16-700-tokens"
LONG_8B = PROFILES / "llama-3-8b-float16-700-tokens"
LONGEST = PROFILES / "llama-3.2-1b-float16-4000-tokens"
LONG_FLASH = PROFILES / "llama-3.2-1b-float16-700-tokens-flash"
