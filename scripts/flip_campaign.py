"""Count flip searches over many prompts, and put the tables into docs/tokens.md.

    python scripts/flip_campaign.py count all.json.gz --part default=sdpa.json.gz --part no-workspace=nows.json.gz
    python scripts/flip_campaign.py document

`count` reads whole results of `tracediff flips` (tens of MB, not kept here) and writes profiles/tokens/smollm2.json;
`document` makes the tables from that file, so that every number in the page is in it. A part is a search of every n-th
prompt with another attention or remedy; it is set beside the same prompts of the first search.
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
from tracediff.findings.flips_file import read_flips
from tracediff.findings.flips_summary import Summary, summary_of, wilson_interval

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "profiles" / "tokens" / "smollm2.json"
PAGE = ROOT / "docs" / "tokens.md"
BEGIN, END = "<!-- begin: scripts/flip_campaign.py document -->", "<!-- end -->"
SCHEMA = 2
# Upper ends of prompt lengths in tokens, and of margins in ULP and in logits.
LENGTHS = (16, 64, 512, 1024, 4096)
MARGINS_ULP = (0, 1, 2, 4, 8, 16, 64, 1e9)
MARGINS = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 1e9)
SHOWN_FLIPS = 12


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


def same_prompts(whole: FlipsResult, part: FlipsResult) -> FlipsResult:
    """Return those prompts of a whole search that a part has: every n-th, as `awk 'NR % n == 0'` takes them.

    Raises:
        TracediffError: The part is of other prompts, steps or batch sizes.
    """
    every = whole.settings.prompts // part.settings.prompts
    chosen = [
        replace(search, prompts=tuple(prompt for prompt in search.prompts if (prompt.prompt + 1) % every == 0))
        for search in whole.searches
    ]
    settings = (whole.settings.batches, whole.settings.decode, whole.settings.precisions)
    lengths = [[prompt.length for prompt in search.prompts] for search in (chosen[0], part.searches[0])]
    if settings != (part.settings.batches, part.settings.decode, part.settings.precisions) or lengths[0] != lengths[1]:
        raise TracediffError("a part is of other prompts or settings than the whole", "search every n-th prompt")
    return replace(whole, searches=tuple(chosen))


def _read(path: Path) -> FlipsResult:
    if path.suffix != ".gz":
        return read_flips(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        return read_flips(plain)


# -- the page ---------------------------------------------------------------------------------------------------------


def tables(counted: dict[str, Any]) -> str:
    """Return the page's tables as Markdown."""
    whole = counted["whole"]
    parts = [_rates(whole["rows"]), _by_group(whole["rows"]), _by_margin(whole["margins"])]
    if counted["parts"]:
        parts.append(_by_setting(counted))
    return "\n\n".join(parts)


def _rates(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| dtype | batch | flips ÷ steps | rate, 95 % interval | prompts that diverge, 95 % interval | median first "
        "flip | steps with equal logits | largest change of a logit | mean KL (nats) | ratio outside 0.9–1.1 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["group"] == "all":
            low, high = row["sequence_interval"]
            lines.append(
                f"| {row['precision']} | {row['base']} → {row['batch']} | {row['flips']:,} ÷ {row['steps']:,} | "
                f"{_interval(row)} | {row['diverged']} of {row['prompts']}, {low:.1%}–{high:.1%} | {_first(row)} | "
                f"{row['equal_steps'] / row['steps']:.1%} | {row['largest_change']:.3g} | {row['divergence']:.1e} | "
                f"{row['ratio_outside'] / row['steps']:.3%} |"
            )
    return "\n".join(lines)


def _interval(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{low:.3%}–{high:.3%}"


def _first(row: dict[str, Any]) -> str:
    return f"{row['first_divergence']['median']:g}" if row["first_divergence"] else "–"


def _by_group(rows: Sequence[dict[str, Any]]) -> str:
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    lines = [
        f"| prompts | {' | '.join(f'{each}: flips ÷ comparisons | 95 % interval' for each in precisions)} |",
        f"|---|{'---|---|' * len(precisions)}",
    ]
    for group in dict.fromkeys(row["group"] for row in rows if row["group"] != "all"):
        cells = []
        for precision in precisions:
            same = [row for row in rows if row["group"] == group and row["precision"] == precision]
            flips, steps = sum(row["flips"] for row in same), sum(row["steps"] for row in same)
            low, high = wilson_interval(flips, steps)
            cells.append(f"{flips:,} ÷ {steps:,} | {low:.3%}–{high:.3%}")
        lines.append(f"| {group} ({same[0]['prompts']}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_margin(margins: dict[str, Any]) -> str:
    lines = [
        f"| margin at the base | {' | '.join(f'{each}: steps | share | flips' for each in margins)} |",
        f"|---|{'---|---|---|' * len(margins)}",
    ]
    for unit, bins in ((" ULP", "in_ulp"), ("", "in_logits")):
        for place, end in enumerate(row["up_to"] for row in next(iter(margins.values()))[bins]):
            if end == 0 and not unit:
                continue  # exact ties are the same in both units
            name = "exact tie" if end == 0 else f"≤ {end:g}{unit}" if end < 1e6 else f"larger{unit and ', in ULP'}"
            cells = []
            for counts in margins.values():
                row = counts[bins][place]
                cells.append(f"{row['steps']:,} | {row['steps'] / counts['steps']:.2%} | {row['flips']:,}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_setting(counted: dict[str, Any]) -> str:
    """Set every part beside the same prompts of the whole: what remains of the flips, and where two runs disagree."""
    settings = {counted["whole_name"]: counted["same_prompts"], **counted["parts"]}
    batches = counted["whole"]["settings"]["batches"][1:]
    base = counted["whole"]["settings"]["batches"][0]
    lines = [
        f"| dtype | setting | {' | '.join(f'flips {base} → {batch}' for batch in batches)} | flips, all batch sizes | "
        "steps with equal logits | steps that two equal runs decide differently |",
        f"|---|---|{'---|' * (len(batches) + 3)}",
    ]
    for precision in counted["whole"]["margins"]:
        for name, found in settings.items():
            rows = [row for row in found["rows"] if row["group"] == "all" and row["precision"] == precision]
            flips, steps = sum(row["flips"] for row in rows), sum(row["steps"] for row in rows)
            noise = [row["noise"] for row in rows if row["noise"] is not None]
            lines.append(
                f"| {precision} | {name} | {' | '.join(str(row['flips']) for row in rows)} | {flips} ÷ {steps:,} | "
                f"{sum(row['equal_steps'] for row in rows) / steps:.1%} | {sum(noise) if noise else '–'} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["count", "document"])
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--name", default="efficient attention", help="what the whole search is called in the tables")
    parser.add_argument(
        "--part", action="append", default=[], metavar="NAME=FILE", help="a search of every n-th prompt"
    )
    given = parser.parse_args()
    if given.command == "document":
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        made = tables(json.loads(COUNTED.read_text(encoding="utf-8")))
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")
        return
    whole = _read(given.result)
    parts = {name: _read(Path(file)) for name, _, file in (each.partition("=") for each in given.part)}
    counted: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "flip-campaign",
        "whole_name": given.name,
        "whole": count(whole),
        "parts": {name: _without_lists(count(part)) for name, part in parts.items()},
    }
    for part in parts.values():
        counted["same_prompts"] = _without_lists(count(same_prompts(whole, part)))
    COUNTED.write_text(json.dumps(counted, separators=(",", ":")) + "\n", encoding="utf-8")


def _without_lists(counted: dict[str, Any]) -> dict[str, Any]:
    """Return a part's numbers without its single flips and its groups, which no table shows."""
    rows = [row for row in counted["rows"] if row["group"] == "all"]
    return {**{key: value for key, value in counted.items() if key not in ("flips", "top")}, "rows": rows}


if __name__ == "__main__":
    main()
