"""How many distinct kernel names `tracediff.kernels.parse` reads per second on one core.

    python scripts/benchmark_names.py [--names 200000] [--rounds 5] [--by-family]

The names are those of the tests' corpus, made distinct by counting up one of their numbers. `parse` has no cache. Times
are of the process's CPU, the best round counts.
"""

import argparse
import gc
import json
import re
import time
from collections import defaultdict
from pathlib import Path

from tracediff.kernels import parse

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "kernels" / "kernel_names.jsonl"
_TILE = re.compile(r"(?<=[_e])\d+(?=x\d)")


def distinct(name: str, copy: int) -> str:
    """Return a name of the same form that differs from all other copies: another tile, or another ending."""
    if copy == 0:
        return name
    changed, count = _TILE.subn(lambda found: str(int(found.group()) + copy), name, count=1)
    return changed if count else f"{name}{copy}"


def measure(names: list[str], rounds: int) -> float:
    """Return names per second of CPU time, best of `rounds`."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        for name in names:
            parse(name)
        best = min(best, time.process_time() - start)
    return len(names) / best


def distinct_names(count: int) -> list[str]:
    """Return so many distinct names of the corpus's forms."""
    corpus = list(dict.fromkeys(json.loads(line)["name"] for line in CORPUS.read_text(encoding="utf-8").splitlines()))
    copies = -(-count // len(corpus))
    return list(dict.fromkeys(distinct(name, copy) for copy in range(copies) for name in corpus))[:count]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--names", type=int, default=100_000, help="how many distinct names")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--by-family", action="store_true", help="also one line per family")
    chosen = options.parse_args()
    names = distinct_names(chosen.names)
    print(f"{len(names):,} distinct names: {measure(names, chosen.rounds):,.0f} names per second of CPU time")
    if chosen.by_family:
        families: dict[str, list[str]] = defaultdict(list)
        for name in names[:20_000]:
            families[parse(name).family].append(name)
        for family, members in sorted(families.items(), key=lambda item: -len(item[1])):
            print(f"  {family:24} {len(members):7,} {measure(members, chosen.rounds):12,.0f}")


if __name__ == "__main__":
    main()
