"""Count flip searches over many prompts into profiles/tokens, for docs/tokens.md.

    python scripts/flip_campaign.py all.json --seconds 287 --slow 40 slow.json --again 1 again.json \\
        --part 8 no-workspace no-workspace.json --growing fixed-chunk fixed-chunk.json
    python scripts/document_flips.py

Reads results of `tracediff flips`, finished or not (tens of MB, not kept here), and writes smollm2.json with all
numbers of the page and smollm2/flips.json with some whole prompts. A part is a search of every n-th prompt, or of the
first of these, with another attention or remedy: it is set beside the same prompts of the first search. A search with
the cache that grows runs other kernels and stands by itself; one run again, on this card or another, is compared number
by number.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tracediff.errors import TracediffError
from tracediff.findings.flips import Flip, FlipsResult, PromptSteps, Search
from tracediff.findings.flips_file import read_flips, result_to_json
from tracediff.findings.flips_summary import Summary, summary_of
from tracediff.measure.flips_log import read_unfinished
from tracediff.text import json_text

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "profiles" / "tokens" / "smollm2.json"
EXAMPLES = ROOT / "profiles" / "tokens" / "smollm2" / "flips.json"
SCHEMA = 4
# Upper ends of prompt lengths in tokens, and of margins in ULP and in logits.
LENGTHS = (16, 64, 512, 1024, 4096)
MARGINS_ULP = (0, 1, 2, 4, 8, 16, 64, 1e9)
MARGINS = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 1e9)
SHOWN_FLIPS = 12
EXAMPLE_PROMPTS = 2
_SHOWN_OF_PARTS = ("precision", "base", "batch", "prompts", "steps", "flips", "equal_steps", "noise")


def count(result: FlipsResult) -> dict[str, Any]:
    """Return the numbers of one result, small enough to keep."""
    base = result.settings.batches[0]
    rows = [
        {"group": group, **_numbers(summary_of(search, prompts, base, batch))}
        for search in result.searches
        for group, prompts in _groups(search.prompts)
        for batch in result.settings.batches[1:]
    ]
    return {
        "settings": msgspec.to_builtins(result.settings),
        "machine": result.machine,
        "mixed": {search.label: list(search.mixed) for search in result.searches},
        "noisy": {search.label: list(search.noisy) for search in result.searches},
        "rows": rows,
        "sequences": {search.label: _sequences(search) for search in result.searches},
        "margins": {search.label: _margins(search) for search in result.searches},
        "flips": {search.label: [_flip(flip) for flip in search.flips] for search in result.searches},
        "top": {search.label: [msgspec.to_builtins(flip) for flip in _shown(search)] for search in result.searches},
    }


def _groups(prompts: Sequence[PromptSteps]) -> Iterator[tuple[str, list[PromptSteps]]]:
    yield "all", list(prompts)
    for kind in dict.fromkeys(prompt.kind for prompt in prompts if prompt.kind is not None):
        yield kind, [prompt for prompt in prompts if prompt.kind == kind]
    for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
        within = [prompt for prompt in prompts if low < prompt.length <= high]
        if within:
            yield f"{low + 1:,}–{high:,} tokens", within


def _numbers(summary: Summary) -> dict[str, Any]:
    diverged = [step for step in summary.first_divergence if step is not None]
    form: dict[str, Any] = msgspec.to_builtins(summary)
    for name in ("first_divergence", "by_margin", "nearer_base", "nearer_other", "as_near"):
        del form[name]
    return {
        **form,
        "diverged": len(diverged),
        "first_divergence": {"earliest": min(diverged), "median": statistics.median(diverged)} if diverged else None,
    }


def _sequences(search: Search) -> dict[str, int]:
    """Return how many prompts flip anywhere, at any batch size, and at how many flips how many tokens tie."""
    ties = Counter(flip.base.tied for flip in search.flips)
    return {
        "prompts": len(search.prompts),
        "diverging": sum(bool(prompt.flips) for prompt in search.prompts),
        "two_way_ties": ties[2],
        "wider_ties": sum(number for tied, number in ties.items() if tied > 2),
        "ties_after": sum(flip.base.tied == 1 and flip.other.tied > 1 for flip in search.flips),
    }


def _margins(search: Search) -> dict[str, Any]:
    steps = [pair for prompt in search.prompts for pair in zip(prompt.margin, prompt.margin_ulp, strict=True)]
    flips = [(flip.margin, flip.margin_ulp) for flip in search.flips]
    return {
        "steps": len(steps),
        "ties": sum(margin == 0 for margin, _ in steps),
        "largest": max((margin for margin, _ in flips), default=None),
        "in_ulp": _bins([ulp for _, ulp in steps], [ulp for _, ulp in flips], MARGINS_ULP),
        "in_logits": _bins([margin for margin, _ in steps], [margin for margin, _ in flips], MARGINS),
    }


def _bins(steps: Sequence[float], flips: Sequence[float], ends: Sequence[float]) -> list[dict[str, float]]:
    lows = (-1.0, *ends)
    return [
        {
            "up_to": high,
            "steps": sum(low < value <= high for value in steps),
            "flips": sum(low < value <= high for value in flips),
        }
        for low, high in zip(lows, ends, strict=False)
    ]


def _flip(flip: Flip) -> list[Any]:
    return [flip.prompt, flip.step, flip.batch, flip.margin, flip.margin_ulp, flip.base.tied, list(flip.moved or ())]


def _shown(search: Search) -> list[Flip]:
    """Return some flips with their largest logits: those with the most tied tokens, and with the largest margins."""
    by_ties = sorted(search.flips, key=lambda flip: (-flip.base.tied, flip.prompt, flip.step, flip.batch))
    by_margin = sorted(search.flips, key=lambda flip: -flip.margin)
    chosen = {(flip.prompt, flip.step): flip for flip in (*by_ties[: SHOWN_FLIPS // 2], *by_margin[: SHOWN_FLIPS // 2])}
    return list(chosen.values())


def same_prompts(whole: FlipsResult, part: FlipsResult, every: int) -> FlipsResult:
    """Return those prompts of a whole search that a part has: every n-th, as `awk 'NR % n == 0'` takes them, or fewer.

    Raises:
        TracediffError: The part is of other prompts, steps or batch sizes.
    """
    lengths = {prompt.prompt: prompt.length for search in whole.searches for prompt in search.prompts}
    found = {(p.prompt + 1) * every - 1: p.length for search in part.searches for p in search.prompts}
    if whole.settings.prompts // every < part.settings.prompts or not found.items() <= lengths.items():
        raise TracediffError(f"a part is not every {every}th prompt of the whole", "name the n that awk was given")
    searches = []
    for search, other in zip(whole.searches, part.searches, strict=True):
        numbers = {(prompt.prompt + 1) * every - 1 for prompt in other.prompts}
        searches.append(replace(search, prompts=tuple(each for each in search.prompts if each.prompt in numbers)))
    wanted, given = ((each.batches, each.decode, each.precisions) for each in (whole.settings, part.settings))
    if wanted != given:
        raise TracediffError("a part has other settings than the whole", "give the same batches, steps and dtypes")
    return replace(whole, searches=tuple(searches))


def compared(whole: FlipsResult, slow: FlipsResult, every: int) -> dict[str, Any]:
    """Return on how many prompts two searches agree in every number that they keep."""
    pairs = [
        (_as_first(prompt), _as_first(other))
        for search, found in zip(same_prompts(whole, slow, every).searches, slow.searches, strict=True)
        for prompt, other in zip(search.prompts, found.prompts, strict=True)
    ]
    return {
        "prompts": len(pairs),
        "by_dtype": {search.label: len(search.prompts) for search in slow.searches},
        "flips": sum(len(slowly.flips) for _, slowly in pairs),
        "equal": sum(fast == slowly for fast, slowly in pairs),
    }


def searched_again(whole: FlipsResult, other: FlipsResult, every: int) -> dict[str, Any]:
    """Return, for each precision, what another run gives alike, on this card or another.

    Returns:
        `prompts`; `same_tokens`: prompts after which both runs choose the same tokens at the first batch size;
        `same_numbers`: prompts that agree in every number kept; `flips`: how many in each and in both.
    """
    by_dtype = {}
    for search, found in zip(same_prompts(whole, other, every).searches, other.searches, strict=True):
        pairs = [tuple(map(_as_first, pair)) for pair in zip(search.prompts, found.prompts, strict=True)]
        flips = [[{(flip.step, flip.batch) for flip in each.flips} for each in pair] for pair in pairs]
        by_dtype[search.label] = {
            "prompts": len(pairs),
            "same_tokens": sum(here.chosen == there.chosen for here, there in pairs),
            "same_numbers": sum(here == there for here, there in pairs),
            "flips": [
                sum(len(here) for here, _ in flips),
                sum(len(there) for _, there in flips),
                sum(len(here & there) for here, there in flips),
            ],
        }
    return {"every": every, "machine": other.machine, "by_dtype": by_dtype}


def _as_first(prompt: PromptSteps) -> PromptSteps:
    return replace(prompt, prompt=0, flips=tuple(replace(flip, prompt=0) for flip in prompt.flips))


def examples(whole: FlipsResult) -> FlipsResult:
    """Return the few prompts of each precision whose flips have the most tied tokens."""
    searches = []
    for search in whole.searches:
        ranked = sorted(
            search.prompts,
            key=lambda prompt: (-max((flip.base.tied for flip in prompt.flips), default=0), prompt.length),
        )
        searches.append(replace(search, prompts=tuple(sorted(ranked[:EXAMPLE_PROMPTS], key=lambda each: each.prompt))))
    note = "a few prompts of a campaign, chosen for their ties: the rate here says nothing"
    return replace(whole, searches=tuple(searches), notes=(*whole.notes, note))


def _read(path: Path) -> FlipsResult:
    """Read a result, finished or not, perhaps compressed."""
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".gz":
            plain = Path(folder) / path.stem
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            path = plain
        return read_unfinished(path)[0] if path.suffix == ".part" else read_flips(path)


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--name", default="efficient attention", help="what the whole search is called in the tables")
    parser.add_argument("--seconds", type=int, help="how long it took")
    parser.add_argument("--slow", nargs=2, metavar=("N", "FILE"), help="every n-th prompt, searched with --no-mix")
    parser.add_argument("--part", nargs=3, action="append", default=[], metavar=("N", "NAME", "FILE"))
    parser.add_argument("--again", nargs=2, action="append", default=[], metavar=("N", "FILE"), help="another run")
    parser.add_argument("--growing", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
    given = parser.parse_args()
    whole = _read(given.result)
    counted = {
        "schema": SCHEMA,
        "kind": "flip-campaign",
        "whole_name": given.name,
        "seconds": given.seconds,
        "whole": count(whole),
        "parts": [_part(whole, int(every), name, _read(Path(file))) for every, name, file in given.part],
        "slow": None if given.slow is None else compared(whole, _read(Path(given.slow[1])), int(given.slow[0])),
        "growing": [_apart(name, _read(Path(file))) for name, file in given.growing],
        "again": [searched_again(whole, _read(Path(file)), int(every)) for every, file in given.again],
    }
    COUNTED.write_text(json.dumps(counted, separators=(",", ":")) + "\n", encoding="utf-8")
    EXAMPLES.parent.mkdir(exist_ok=True)
    EXAMPLES.write_text(json_text(result_to_json(examples(whole))) + "\n", encoding="utf-8")


def _part(whole: FlipsResult, every: int, name: str, part: FlipsResult) -> dict[str, Any]:
    return {**_apart(name, part), "same": _rows_of_all(same_prompts(whole, part, every))}


def _apart(name: str, part: FlipsResult) -> dict[str, Any]:
    return {
        "name": name,
        "settings": msgspec.to_builtins(part.settings),
        "machine": part.machine,
        "noisy": {search.label: list(search.noisy) for search in part.searches},
        "rows": _rows_of_all(part),
    }


def _rows_of_all(result: FlipsResult) -> list[dict[str, Any]]:
    """Return what the page shows of a part: all its prompts, by precision and batch size."""
    base, *others = result.settings.batches
    rows = [_numbers(summary_of(search, search.prompts, base, batch)) for search in result.searches for batch in others]
    return [{name: row[name] for name in _SHOWN_OF_PARTS} for row in rows if row["prompts"]]


if __name__ == "__main__":
    main()
