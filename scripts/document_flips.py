"""Write the numbers of the trained model into docs/tokens.md, between the markers; no GPU, no torch.

    python scripts/document_flips.py

Everything comes from profiles/tokens/smollm2.json, which scripts/flip_campaign.py makes, and from
smollm2-own-length.json, the counts of an earlier search whose prompts were not padded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracediff.findings.flips_summary import wilson_interval

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "profiles" / "tokens" / "smollm2.json"
OWN_LENGTH = ROOT / "profiles" / "tokens" / "smollm2-own-length.json"
PAGE = ROOT / "docs" / "tokens.md"
BEGIN, END = "<!-- begin: scripts/document_flips.py -->", "<!-- end -->"


def main() -> None:
    """Rewrite the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    made = tables(*(json.loads(path.read_text(encoding="utf-8")) for path in (COUNTED, OWN_LENGTH)))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


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
    lines += [
        *(_near_ties(name, [row for row in whole["rows"] if row["precision"] == name]) for name in widest),
        *(_remaining(part) for part in counted["parts"]),
        *(f"At their own length, {_remaining(part)}" for part in own_length["parts"]),
        *_checks(counted),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _near_ties(precision: str, rows: Sequence[dict[str, Any]]) -> str:
    """Say how many flips have a margin that what logits typically move explains."""
    searched = [row for row in rows if row["group"] == "all" and row["flips"]]
    flips = sum(row["flips"] for row in searched)
    near = flips - sum(row["far"] + row["near_unknown"] for row in searched)
    typical = ", ".join(f"{row['typical_change']:.3g} at batch {row['batch']}" for row in searched)
    return (
        f"{precision}: {near:,} of {flips:,} flips have a margin of at most twice the typical change of a logit where "
        f"no token flips ({typical})."
    )


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


if __name__ == "__main__":
    main()
