"""Write the measured tables into docs/invariance.md, between the markers, and draw its pictures; no GPU, no torch.

    python scripts/document_invariance.py

Everything comes from profiles/maps and profiles/remedies, which scripts/measure_invariance.py makes.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

from tracediff.findings.maps import BatchMap, Count, ModuleMap, read_map
from tracediff.findings.maps_classes import classes_of, prediction_table
from tracediff.findings.remedies import (
    Bits,
    Price,
    RemediesResult,
    cheapest_invariant,
    equal_classes,
    prices,
    read_remedies,
)
from tracediff.report.map.svg import maps_to_svg
from tracediff.report.map.words import classes_in_words, padding_sentences, verdict
from tracediff.report.remedies.markdown import remedies_to_markdown
from tracediff.report.remedies.words import ratio

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "invariance.md"
IMAGES = ROOT / "docs" / "images"
_RANGES = 12


def main() -> int:
    """Rewrite the page and its pictures."""
    maps, remedies = measured()
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8"), maps, remedies), encoding="utf-8")
    default = [found for found in maps.values() if found.setting == "default"]
    (IMAGES / "invariance-forwards.svg").write_text(maps_to_svg(list(maps.values()), only_forwards=True))
    (IMAGES / "invariance-modules.svg").write_text(maps_to_svg(default[:2]))
    return 0


def measured() -> tuple[dict[str, BatchMap], dict[str, RemediesResult]]:
    """Read profiles/maps and profiles/remedies, by the names of their files."""
    maps = {path.stem: read_map(path) for path in sorted((ROOT / "profiles" / "maps").glob("*.json"))}
    remedies = {path.stem: read_remedies(path) for path in sorted((ROOT / "profiles" / "remedies").glob("*.json"))}
    return maps, remedies


def rewritten(text: str, maps: dict[str, BatchMap], remedies: dict[str, RemediesResult]) -> str:
    """Return the page with every table made anew."""
    tables = {
        "goal": goal(remedies),
        "forwards": forwards(maps),
        "products": products(maps),
        "splits": splits(maps),
        "float32": float32_changes(maps),
        "cards": cards(maps),
        "steps": steps_on_both_cards(remedies),
        "predictions": predictions(maps),
        "padding": padding(maps),
        "price": price(remedies),
        "remedies": "\n".join(f"#### {name}\n\n{remedies_to_markdown(each)}" for name, each in remedies.items()),
    }
    for name, table in tables.items():
        text = between_markers(text, name, table)
    return text


def between_markers(text: str, name: str, table: str) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, found, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{DOCUMENT.name} has no markers {start} … {end}")
    return f"{head}{start}\n{table.rstrip()}\n{end}{tail}"


def goal(remedies: dict[str, RemediesResult]) -> str:
    """Return for every result that compared all batches from 1 to 64 what its best setting makes equal and costs."""
    lines = [
        "| model | card | precision | cached keys | decode, bits at batch 1–64 | prompt, bits at batch 1–16 "
        "| × the fastest at batch 1 | 8 | 32 | 64 | largest spread of 5 rounds |",
        "|---|---|---|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    for result in remedies.values():
        best = cheapest_invariant(result)
        if best is None or best.bits is None or result.batches != tuple(range(1, 65)):
            continue
        for keys, row in best.bits.decode.items():
            points = [point for point in result.times if point.keys == keys]
            ratios = [ratio(point.ratio(best.setting)) for point in points]
            spread = max(point.spread(best.setting) or 0.0 for point in points)
            bits = [_patterns(row), _patterns(best.bits.prefill)]
            cells = [result.model, _card(result.machine), result.dtype, str(keys), *bits]
            lines.append(f"| {' | '.join([*cells, *ratios, f'{spread:.1%}'])} |")
    return "\n".join(lines)


def _patterns(row: Bits) -> str:
    classes = len(equal_classes(row))
    return f"one pattern at all {len(row)}" if classes == 1 else f"{classes} patterns"


def _card(machine: dict[str, str | None]) -> str:
    return (machine.get("gpu") or "").split()[1]


def forwards(maps: dict[str, BatchMap]) -> str:
    """Return the classes of every whole forward."""
    lines = ["| map | keys | classes of bit-equal batches |", "|---|---:|---|"]
    for name, found in maps.items():
        for module in found.forwards:
            words = f"{verdict(module)}: {classes_in_words(module, most=6, ranges=_RANGES)}"
            lines.append(f"| {name} | {module.keys} | {words} |")
    return "\n".join(lines)


def products(maps: dict[str, BatchMap]) -> str:
    """Return the classes of the products that are not all equal, of every map with torch's own products."""
    lines = ["| map | module | classes of bit-equal row counts, 1–512 |", "|---|---|---|"]
    for name, found in maps.items():
        equal = [module.label for module in found.parts if module.counts and classes_of(module).invariant]
        for module in found.parts:
            if module.counts and not classes_of(module).invariant:
                lines.append(f"| {name} | {module.label} | {classes_in_words(module, most=5, ranges=_RANGES)} |")
        lines.append(f"| {name} | all equal: | {', '.join(equal) or '–'} |")
    return "\n".join(lines)


def splits(maps: dict[str, BatchMap]) -> str:
    """Count, over pairs of neighbouring row counts, whether the split-K factor and the bits of a product changed."""
    counted: dict[tuple[str, str, str], Counter[tuple[bool, bool]]] = {}
    for found in maps.values():
        for module in found.parts:
            if module.kind == "product":
                key = found.dtype, str(found.machine.get("gpu")), found.setting
                counted.setdefault(key, Counter()).update(_split_steps(module))
    lines = [
        "| precision, card, setting | same algorithm and split: equal bits | different bits "
        "| other split or algorithm: equal bits | different bits |",
        "|---|---:|---:|---:|---:|",
    ]
    for (dtype, gpu, setting), counts in counted.items():
        cells = [counts[changed, equal] for changed in (False, True) for equal in (True, False)]
        lines.append(f"| {dtype}, {gpu}, {setting} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _split_steps(module: ModuleMap) -> Counter[tuple[bool, bool]]:
    found: Counter[tuple[bool, bool]] = Counter()
    for a, b in pairwise(module.counts):
        if a.order is not None and b.order is not None and a.bits is not None and b.bits is not None:
            found[a.order != b.order, a.bits == b.bits] += 1
    return found


def float32_changes(maps: dict[str, BatchMap]) -> str:
    """Count which change of a float32 product's kernels came with different bits, by card."""
    counted: dict[str, Counter[str]] = {}
    for found in maps.values():
        if found.dtype == "float32":
            changes = counted.setdefault(_card(found.machine), Counter())
            for module in found.parts:
                if module.kind == "product":
                    changes.update(_change(a, b) for a, b in pairwise(module.counts) if a.bits != b.bits)
    cards = list(counted)
    lines = [f"| from one row count to the next | {' | '.join(cards)} |", "|---|" + "---:|" * len(cards)]
    for change in sorted({change for changes in counted.values() for change in changes}):
        lines.append(f"| {change} | {' | '.join(str(counted[card][change]) for card in cards)} |")
    return "\n".join(lines)


def _change(a: Count, b: Count) -> str:
    """Say how a product's order changed: another family of kernels, another split, or neither in words."""
    (family_a, split_a), (family_b, split_b) = (str(each.order).split(", ")[:2] for each in (a, b))
    if family_a != family_b:
        return f"{family_a} → {family_b}"
    return f"{family_a}, other split" if split_a != split_b else f"{family_a}, same split"


def cards(maps: dict[str, BatchMap]) -> str:
    """Count over the products of two cards whether algorithm and split, and whether bits differ at one row count."""
    lines = [
        "| model, precision, setting | same algorithm and split: equal bits | different bits "
        "| other split or algorithm: equal bits | different bits |",
        "|---|---:|---:|---:|---:|",
    ]
    for a, b in combinations(maps.values(), 2):
        same_run = (a.model, a.dtype, a.setting, a.hashed) == (b.model, b.dtype, b.setting, b.hashed)
        if same_run and a.machine.get("gpu") != b.machine.get("gpu"):
            found: Counter[tuple[bool, bool]] = Counter()
            others = {module.identity: module for module in b.parts}
            for module in a.parts:
                other = others.get(module.identity)
                if module.kind == "product" and other is not None and module.inputs == other.inputs:
                    by_rows = {count.rows: count for count in other.counts}
                    pairs = [(count, by_rows[count.rows]) for count in module.counts if count.rows in by_rows]
                    found.update((x.order != y.order, x.bits == y.bits) for x, y in pairs)
            cells = [found[changed, equal] for changed in (False, True) for equal in (True, False)]
            lines.append(f"| {a.model}, {a.dtype}, {a.setting} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def steps_on_both_cards(remedies: dict[str, RemediesResult]) -> str:
    """Count for every setting at how many batches two cards gave the same bits of row 0's logits.

    A count that varied from run to run on either card has no bits of its own and agrees with nothing.
    """
    lines = [
        "| precision, batches tried | setting | "
        + " | ".join(f"decode, {keys} keys" for keys in (300, 4000))
        + " | prompt |",
        "|---|---|---:|---:|---:|",
    ]
    for a, b in combinations(remedies.values(), 2):
        same_run = (a.model, a.dtype, a.batches, a.prefill_batches) == (b.model, b.dtype, b.batches, b.prefill_batches)
        if not same_run or a.machine.get("gpu") == b.machine.get("gpu"):
            continue
        others = {bits.setting: bits for bits in b.bits}
        rows = []
        for bits in a.bits:
            other = others.get(bits.setting)
            if other is not None and list(bits.decode) == list(other.decode) == [300, 4000]:
                pairs = [(bits.decode[keys], other.decode[keys]) for keys in bits.decode]
                rows.append((bits.setting, [_agreeing(x, y) for x, y in [*pairs, (bits.prefill, other.prefill)]]))
        for setting, cells in sorted(rows, key=lambda row: -sum(agreeing for agreeing, _ in row[1])):
            words = [f"{agreeing} of {tried}" for agreeing, tried in cells]
            lines.append(f"| {a.dtype}, {len(a.batches)} | `{setting}` | {' | '.join(words)} |")
    return "\n".join(lines)


def _agreeing(a: Bits, b: Bits) -> tuple[int, int]:
    others = dict(b)
    tried = [(bits, others[batch]) for batch, bits in a if batch in others]
    return sum(x is not None and x == y for x, y in tried), len(tried)


def predictions(maps: dict[str, BatchMap]) -> str:
    """Return what the rules said of every step, against the bits."""
    verdicts = ("same-kernels", "same-order", "order-changed", "unknown")
    lines = ["| map | " + " | ".join(f"{each}: equal | not" for each in verdicts) + " |"]
    lines.append("|---|" + "---:|" * (2 * len(verdicts)))
    for name, found in maps.items():
        table = prediction_table(found)
        cells = [str(number) for each in verdicts for number in table.get(each, (0, 0))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def padding(maps: dict[str, BatchMap]) -> str:
    """Return the cheapest padding of every forward."""
    return "\n".join(f"- {name}: {sentence}" for name, found in maps.items() for sentence in padding_sentences(found))


def price(remedies: dict[str, RemediesResult]) -> str:
    """Return for every result the invariant settings and the fastest ones, with their ratios at every point."""
    lines: list[str] = []
    for name, result in remedies.items():
        points = result.times
        head = " | ".join(f"{point.batch} × {point.keys}" for point in points)
        lines += ["", f"**{name}** ({result.machine.get('gpu')}), × the fastest setting:", ""]
        lines += [f"| setting | bit-equal | {head} |", "|---|---|" + "---:|" * len(points)]
        for each in sorted(prices(result), key=lambda one: one.worst_ratio or float("inf")):
            cells = " | ".join(ratio(point.ratio(each.setting)) for point in points)
            lines.append(f"| `{each.setting}` | {_equal(each)} | {cells} |")
    return "\n".join(lines)


def _equal(price: Price) -> str:
    if price.bits is None:
        return "not compared"
    if price.invariant:
        return "**yes**"
    return "no" if price.bits.repeats else "no, varies"


if __name__ == "__main__":
    sys.exit(main())
