"""Count a flip search over many prompts by kind and length, and put the tables into docs/tokens.md.

    python scripts/flip_campaign.py count flips.json.gz [--without-workspace flips.json.gz] [--repeats repeat.json]
    python scripts/flip_campaign.py document

`count` reads whole results of `tracediff flips` (tens of MB, not kept here) and writes profiles/tokens/smollm2.json;
`document` makes the tables from that file, so that every number in the page is in it.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tracediff.findings.flips import Flip, FlipsResult, PromptSteps, Search
from tracediff.findings.flips_file import read_flips
from tracediff.findings.flips_summary import Summary, summary_of, wilson_interval

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "profiles" / "tokens" / "smollm2.json"
PAGE = ROOT / "docs" / "tokens.md"
BEGIN, END = "<!-- begin: scripts/flip_campaign.py document -->", "<!-- end -->"
# Upper ends of prompt lengths in tokens, and of margins in ULP and in logits.
LENGTHS = (16, 64, 512, 4096)
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
        "repeatable": {search.label: search.repeatable for search in result.searches},
        "rows": rows,
        "margins": {search.label: _margins(search) for search in result.searches},
        "flips": {search.label: [_flip(flip) for flip in search.flips] for search in result.searches},
        "top": {search.label: [msgspec.to_builtins(flip) for flip in _nearest(search)] for search in result.searches},
    }


def _groups(prompts: Sequence[PromptSteps]) -> Iterator[tuple[str, list[PromptSteps]]]:
    yield "all", list(prompts)
    for kind in dict.fromkeys(prompt.kind for prompt in prompts if prompt.kind is not None):
        yield kind, [prompt for prompt in prompts if prompt.kind == kind]
    for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
        within = [prompt for prompt in prompts if low < prompt.length <= high]
        if within:
            yield f"{low + 1}–{high} tokens", within


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


def _margins(search: Search) -> dict[str, Any]:
    steps = [pair for prompt in search.prompts for pair in zip(prompt.margin, prompt.margin_ulp, strict=True)]
    flips = [(flip.margin, flip.margin_ulp) for flip in search.flips]
    return {
        "steps": len(steps),
        "ties": sum(margin == 0 for margin, _ in steps),
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


def _nearest(search: Search) -> list[Flip]:
    """Return some flips with their largest logits: those with the most tied tokens, then the largest margins."""
    by_ties = sorted(search.flips, key=lambda flip: (-flip.base.tied, flip.prompt, flip.step, flip.batch))
    by_margin = sorted(search.flips, key=lambda flip: -flip.margin)
    chosen = {(flip.prompt, flip.step): flip for flip in (*by_ties[: SHOWN_FLIPS // 2], *by_margin[: SHOWN_FLIPS // 2])}
    return list(chosen.values())


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
    main = counted["main"]
    parts = [_rates(main["rows"]), _by_group(main["rows"]), _by_margin(main["margins"])]
    if "without_workspace" in counted:
        parts.append(_remedy(counted))
    if "repeats" in counted:
        parts.append(_repeats(counted["repeats"]["rows"]))
    return "\n\n".join(parts)


def _rates(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| dtype | batch | flips ÷ steps | 95 % interval | prompts that diverge | steps with equal logits | "
        "largest change of a logit | mean KL (nats) | ratio outside 0.9–1.1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["group"] == "all":
            low, high = row["interval"]
            lines.append(
                f"| {row['precision']} | {row['base']} → {row['batch']} | {row['flips']} ÷ {row['steps']:,} | "
                f"{low:.3%}–{high:.3%} | {row['diverged']} of {row['prompts']} | "
                f"{row['equal_steps'] / row['steps']:.1%} | {row['largest_change']:.3g} | {row['divergence']:.1e} | "
                f"{row['ratio_outside'] / row['steps']:.2%} |"
            )
    return "\n".join(lines)


def _by_group(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| prompts | dtype | flips ÷ comparisons | 95 % interval | diverging, all batch sizes | median first flip |",
        "|---|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(row["group"] for row in rows if row["group"] != "all"):
        for precision in dict.fromkeys(row["precision"] for row in rows):
            same = [row for row in rows if row["group"] == group and row["precision"] == precision]
            flips, steps = sum(row["flips"] for row in same), sum(row["steps"] for row in same)
            low, high = wilson_interval(flips, steps)
            first = [row["first_divergence"]["median"] for row in same if row["first_divergence"]]
            lines.append(
                f"| {group} ({same[0]['prompts']}) | {precision} | {flips} ÷ {steps:,} | {low:.3%}–{high:.3%} | "
                f"{sum(row['diverged'] for row in same)} of {sum(row['prompts'] for row in same)} | "
                f"{statistics.median(first) if first else '–'} |"
            )
    return "\n".join(lines)


def _by_margin(margins: dict[str, Any]) -> str:
    lines = ["| dtype | margin at batch 1 | steps | share | flips at any batch size |", "|---|---|---|---|---|"]
    for precision, counts in margins.items():
        for row in counts["in_ulp"]:
            name = "exact tie" if row["up_to"] == 0 else f"≤ {row['up_to']:g} ULP" if row["up_to"] < 1e6 else "larger"
            lines.append(
                f"| {precision} | {name} | {row['steps']:,} | {row['steps'] / counts['steps']:.2%} | {row['flips']} |"
            )
    return "\n".join(lines)


def _remedy(counted: dict[str, Any]) -> str:
    lines = [
        "| dtype | batch | flips | flips, cuBLAS without workspace | steps with equal logits | without workspace |",
        "|---|---|---|---|---|---|",
    ]
    defaults = {(row["precision"], row["batch"]): row for row in counted["same_prompts"] if row["group"] == "all"}
    for row in counted["without_workspace"]["rows"]:
        if row["group"] == "all":
            other = defaults[row["precision"], row["batch"]]
            lines.append(
                f"| {row['precision']} | {row['base']} → {row['batch']} | {other['flips']} ÷ {other['steps']:,} | "
                f"{row['flips']} ÷ {row['steps']:,} | {other['equal_steps'] / other['steps']:.1%} | "
                f"{row['equal_steps'] / row['steps']:.1%} |"
            )
    return "\n".join(lines)


def _repeats(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| attention | dtype | batch | tokens | steps | steps with other logits, run to run | other tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["tokens"]
        lines.append(
            f"| {row['attention']} | {row['dtype']} | {row['batch']} | {low:,}–{high:,} | {row['steps']} | "
            f"{row['other_logits']} | {row['other_tokens']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["count", "document"])
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--without-workspace", type=Path)
    parser.add_argument("--repeats", type=Path)
    given = parser.parse_args()
    if given.command == "document":
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        made = tables(json.loads(COUNTED.read_text(encoding="utf-8")))
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")
        return
    result = _read(given.result)
    counted: dict[str, Any] = {"schema": 1, "kind": "flip-campaign", "main": count(result)}
    if given.without_workspace is not None:
        other = _read(given.without_workspace)
        counted["without_workspace"] = count(other)
        counted["same_prompts"] = count(_every(result, len(result.searches[0].prompts) // other.settings.prompts))[
            "rows"
        ]
    if given.repeats is not None:
        counted["repeats"] = json.loads(given.repeats.read_text(encoding="utf-8"))
    COUNTED.write_text(json.dumps(counted, separators=(",", ":")) + "\n", encoding="utf-8")


def _every(result: FlipsResult, number: int) -> FlipsResult:
    """Return every `number`-th prompt of a result, as `awk 'NR % number == 0'` takes them from the prompt file."""
    searches = [
        replace(search, prompts=tuple(p for p in search.prompts if (p.prompt + 1) % number == 0))
        for search in result.searches
    ]
    return replace(result, searches=tuple(searches))


if __name__ == "__main__":
    main()
