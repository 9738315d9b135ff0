"""Count flip searches over many prompts, and put the tables into docs/tokens.md.

    python scripts/flip_campaign.py count all.json --seconds 311 --slow 40 slow.json --again 4 h200.json \\
        --part 8 no-workspace no-workspace.json --growing fixed-chunk fixed-chunk.json
    python scripts/flip_campaign.py document

`count` reads results of `tracediff flips`, finished or not (tens of MB, not kept here), and writes
profiles/tokens/smollm2.json with all numbers of the page and profiles/tokens/smollm2/flips.json with some whole
prompts; `document` makes tables and findings from the first file. A part is a search of every n-th prompt, or of the
first of these, with another attention or remedy: it is set beside the same prompts of the first search. A search with
the cache that grows runs other kernels and stands by itself; one run again,
on this card or another, is compared number by number.
`document` also reads smollm2-own-length.json, the counts
of an earlier search whose prompts were not padded.
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
from tracediff.findings.flips_summary import Summary, summary_of, wilson_interval
from tracediff.measure.flips_log import read_unfinished
from tracediff.text import json_text

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "profiles" / "tokens" / "smollm2.json"
OWN_LENGTH = ROOT / "profiles" / "tokens" / "smollm2-own-length.json"
EXAMPLES = ROOT / "profiles" / "tokens" / "smollm2" / "flips.json"
PAGE = ROOT / "docs" / "tokens.md"
BEGIN, END = "<!-- begin: scripts/flip_campaign.py document -->", "<!-- end -->"
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


# -- the page ---------------------------------------------------------------------------------------------------------


def tables(counted: dict[str, Any], own_length: dict[str, Any]) -> str:
    """Return the page's sentences and tables of numbers as Markdown.

    Args:
        counted: The campaign.
        own_length: An earlier one, whose prompts were prefilled at their own length.
    """
    whole = counted["whole"]
    parts = [
        _how(counted),
        _rates(whole["rows"]),
        _by_group(whole["rows"]),
        _by_margin(whole["margins"]),
        _padded_and_not(whole["rows"], own_length["whole"]["rows"]),
        _by_setting(counted, "Remedies and attention backends beside the same prompts, every eighth:"),
        _by_setting(own_length, "Remedies beside the same prompts, every fourth, at their own length:"),
        _growing(counted["growing"]),
        _findings(counted, own_length),
    ]
    return "\n\n".join(parts)


def _how(counted: dict[str, Any]) -> str:
    """Say what was run, how long it took, and what the controls said."""
    whole = counted["whole"]
    finished = ", ".join(f"{found['prompts']} prompts in {name}" for name, found in whole["sequences"].items())
    lines = [
        f"{finished}; {whole['settings']['decode'] + 1} steps each; {whole['machine']['gpu']}, "
        f"torch {whole['machine']['torch']}, {counted['seconds']:,} seconds from the start of the command to its end.",
        *(_controls(whole, name) for name in whole["sequences"]),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _controls(found: dict[str, Any], name: str) -> str:
    mixed, noisy = (", ".join(map(str, found[what][name])) for what in ("mixed", "noisy"))
    repeats = f"batch {noisy} did not repeat its bits" if noisy else "every batch size repeats its bits"
    return f"{name}: rows of different prompts had the bits of copies at batch {mixed or 'none'}; {repeats}."


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
        cells, prompts = [], 0
        for precision in precisions:
            same = [row for row in rows if row["group"] == group and row["precision"] == precision]
            flips, steps = sum(row["flips"] for row in same), sum(row["steps"] for row in same)
            low, high = wilson_interval(flips, steps)
            cells.append(f"{flips:,} ÷ {steps:,} | {low:.3%}–{high:.3%}" if steps else "not searched | –")
            prompts = max([prompts, *(row["prompts"] for row in same)])
        lines.append(f"| {group} ({prompts}) | {' | '.join(cells)} |")
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


def _padded_and_not(padded: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> str:
    """Set the rates with padded prompts beside those of an earlier search that prefilled them at their own length."""
    columns = "flips ÷ steps | rate | steps with equal logits"
    lines = [
        "Padded prompts beside an earlier search, which prefilled them at their own length and lacks the long ones in "
        "bfloat16:",
        "",
        f"| dtype | batch | padded: {columns} | own length: {columns} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pairs = [(each, other) for each in padded for other in own if each["group"] == other["group"] == "all"]
    for row, other in pairs:
        if (row["precision"], row["batch"]) == (other["precision"], other["batch"]):
            cells = " | ".join(map(_rate_and_equal, (row, other)))
            lines.append(f"| {row['precision']} | {row['base']} → {row['batch']} | {cells} |")
    return "\n".join(lines)


def _rate_and_equal(row: dict[str, Any]) -> str:
    equal = row["equal_steps"] / row["steps"]
    return f"{row['flips']:,} ÷ {row['steps']:,} | {row['rate']:.3%} | {equal:.1%}"


def _by_setting(counted: dict[str, Any], before: str) -> str:
    """Set every part beside the same prompts of the whole: what remains of the flips."""
    rows = [
        (precision, name, [row for row in found if row["precision"] == precision])
        for part in counted["parts"]
        for precision in dict.fromkeys(row["precision"] for row in part["rows"] if row["prompts"])
        for name, found in ((counted["whole_name"], part["same"]), (part["name"], part["rows"]))
    ]
    # Parts of the same prompts share the line that they are compared with.
    lines = dict.fromkeys(_setting(*row) for row in sorted(rows, key=_by_precision_and_prompts))
    return "\n".join([before, "", *_setting_columns(counted["whole"]["settings"]["batches"]), *lines])


def _by_precision_and_prompts(row: tuple[str, str, list[dict[str, Any]]]) -> tuple[bool, int]:
    precision, _, found = row
    return precision != "float16", -found[0]["prompts"]


def _growing(searches: Sequence[dict[str, Any]]) -> str:
    """Return the searches with the cache that grows as a table of its own."""
    lines = [
        _setting(precision, found["name"], [row for row in found["rows"] if row["precision"] == precision])
        for precision in dict.fromkeys(row["precision"] for found in searches for row in found["rows"])
        for found in searches
        if any(row["precision"] == precision for row in found["rows"])
    ]
    settings = searches[0]["settings"]
    before = f"One prompt at a time, with the cache that grows, {settings['decode'] + 1} steps each:"
    return "\n".join([before, "", *_setting_columns(settings["batches"]), *lines])


def _setting_columns(batches: Sequence[int]) -> list[str]:
    flips = " | ".join(f"flips {batches[0]} → {batch}" for batch in batches[1:])
    return [
        f"| dtype | setting | prompts | {flips} | steps with equal logits | noise |",
        f"|---|---|---|{'---|' * len(batches)}---|",
    ]


def _setting(precision: str, name: str, rows: Sequence[dict[str, Any]]) -> str:
    equal = sum(row["equal_steps"] for row in rows) / sum(row["steps"] for row in rows)
    flips = " | ".join(f"{row['flips']:,}" for row in rows)
    noise = sum(row["noise"] or 0 for row in rows)
    return f"| {precision} | {name} | {rows[0]['prompts']} | {flips} | {equal:.1%} | {noise:,} |"


def _findings(counted: dict[str, Any], own_length: dict[str, Any]) -> str:
    """Say what the tables show, in numbers."""
    whole = counted["whole"]
    widest = {row["precision"]: row for row in whole["rows"] if row["group"] == "all"}  # the last batch size of each
    lines = []
    for name, row in widest.items():
        diverged = row["diverged"] / row["prompts"]
        lines.append(
            f"{name}, batch {row['batch']}: {row['rate']:.2%} of the steps flip, and {diverged:.0%} of the prompts do "
            f"within {whole['settings']['decode'] + 1} steps."
        )
    for name, counts in whole["margins"].items():
        top = max(row["up_to"] for row in counts["in_ulp"] if row["flips"])
        far = sum(row["steps"] for row in counts["in_ulp"] if row["up_to"] > top) / counts["steps"]
        tied = [flip[5] for flip in whole["flips"][name] if flip[5] > 1]
        lines.append(
            f"{name}: the largest margin of a flip is {counts['largest']:g}; above {top:g} ULP, where {far:.0%} of the "
            f"steps lie, none flips. {len(tied):,} of {len(whole['flips'][name]):,} flips are exact ties at batch "
            f"{whole['settings']['batches'][0]}, of up to {max(tied, default=1)} tokens."
        )
    moved = [flip[3] <= sum(flip[6]) * (1 + 1e-6) for flips in whole["flips"].values() for flip in flips]
    lines += [
        f"At {sum(moved):,} of {len(moved):,} flips the two logits moved by at least the margin between them.",
        *(_remaining(part) for part in counted["parts"]),
        *(f"At their own length, {_remaining(part)}" for part in own_length["parts"]),
        *_checks(counted),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _checks(counted: dict[str, Any]) -> list[str]:
    """Say what the slow path, the controls of other backends and another run said."""
    lines = []
    if slow := counted["slow"]:
        lines.append(
            f"One prompt at a time, every row a copy, without shared kernels: {slow['equal']} of {slow['prompts']} "
            f"searches of a prompt agree in every number kept, {slow['flips']} flips among them."
        )
    for part in counted["parts"]:
        for precision, noisy in part["noisy"].items():
            if noisy:
                steps, noise = (
                    sum(row[what] or 0 for row in part["rows"] if row["precision"] == precision)
                    for what in ("steps", "noise")
                )
                lines.append(
                    f"{part['name']}, {precision}: bits did not repeat at batch {', '.join(map(str, noisy))}; at "
                    f"{noise:,} of {steps:,} comparisons two runs of one batch size chose different tokens, which is "
                    "noise and counted as no flip."
                )
    return [*lines, *(line for run in counted["again"] for line in _alike(run))]


def _alike(run: dict[str, Any]) -> list[str]:
    """Say what another run gives alike."""
    prompts = "all prompts" if run["every"] == 1 else f"every {run['every']}th prompt"
    return [
        f"Searched again on {run['machine']['gpu']}, {name}, {prompts}: {found['same_numbers']} of {found['prompts']} "
        f"agree in every number kept, {found['same_tokens']} in the tokens of the first batch size; "
        f"{found['flips'][0]:,} flips before, {found['flips'][1]:,} now, {found['flips'][2]:,} of them the same."
        for name, found in run["by_dtype"].items()
    ]


def _remaining(part: dict[str, Any]) -> str:
    """Say how many flips a part has where the whole search has how many, for each precision."""
    words = []
    for precision in dict.fromkeys(row["precision"] for row in part["rows"] if row["prompts"]):
        rows, same = ([row for row in part[side] if row["precision"] == precision] for side in ("rows", "same"))
        before, after = (sum(row["flips"] for row in each) for each in (same, rows))
        equal = sum(row["equal_steps"] for row in rows) == sum(row["steps"] for row in rows)
        bits = ", and all logits are bit-equal" if equal else ""
        words.append(f"{after:,} flips in place of {before:,} in {precision}{bits}")
    return f"{part['name']}: {'; '.join(words)}."


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["count", "document"])
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--name", default="efficient attention", help="what the whole search is called in the tables")
    parser.add_argument("--seconds", type=int, help="how long it took")
    parser.add_argument("--slow", nargs=2, metavar=("N", "FILE"), help="every n-th prompt, searched with --no-mix")
    parser.add_argument("--part", nargs=3, action="append", default=[], metavar=("N", "NAME", "FILE"))
    parser.add_argument("--again", nargs=2, action="append", default=[], metavar=("N", "FILE"), help="another run")
    parser.add_argument("--growing", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
    given = parser.parse_args()
    if given.command == "document":
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        made = tables(*(json.loads(path.read_text(encoding="utf-8")) for path in (COUNTED, OWN_LENGTH)))
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")
        return
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
