"""Write rules, sweep and measured evidence into docs/reduction-order.md, between the markers.

python scripts/document_rules.py
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from analyse_sweep import (
    Case,
    Confusion,
    confusion,
    kind,
    predict_by_launch,
    predict_by_name,
    read_sweep,
    share,
    tables,
    tally,
)
from sweep_geometries import HELD_OUT, PARTS, TUNING

from tracediff.diff import Verdict, diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.rules import TABLES, Rule
from tracediff.trace import read_trace

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reduction-order.md"
PROFILES = ROOT / "profiles"
SWEEPS = PROFILES / "reduction-order"
#: The first sweep: few products, norms and reductions, attention.
H200 = SWEEPS / "h200.jsonl.xz"
CARDS = ("h100", "h200")
TYPES = ("fp16", "bf16", "fp32", "TF32")
OPERATIONS = (
    *("LlamaRMSNorm", "rms_norm", "layer_norm", "softmax", "sum", "mean", "argmax"),
    *("vocabulary log_softmax", "vocabulary argmax"),
)


def stored(card: str, table: str) -> list[Path]:
    """Return the files of a card's wide sweep: `products` or `reductions`, all parts of it."""
    return sorted(SWEEPS.glob(f"{card}-{table}*.jsonl.xz"))


def groups_by_part(paths: Iterable[Path], use_log: bool = True) -> dict[tuple[str, str], list[list[Case]]]:
    """Return the groups of cases of some sweeps by (part, what `kind` calls them)."""
    found: dict[tuple[str, str], list[list[Case]]] = defaultdict(list)
    for path in paths:
        for (table, group), cases in read_sweep(path, use_log=use_log).groups.items():
            found[cases[0].part, kind(table, group)].append(cases)
    return found


def predicted(paths: Iterable[Path], use_log: bool = True) -> dict[tuple[str, str], Confusion]:
    """Return what the order predicts of some sweeps' pairs, by (part, what `kind` calls their group)."""
    counts: dict[tuple[str, str], Counter[tuple[str, bool]]] = defaultdict(Counter)
    for path in paths:
        for key, found in tally(path, use_log).order.items():
            counts[key] += found.counts
    return {key: Confusion(each) for key, each in counts.items()}


def rules_in_markdown() -> str:
    """Return every rule table: name, verdict, source, and the sweeps' pairs in which the rule decided."""
    counts: dict[tuple[Rule, str], Counter[bool]] = defaultdict(Counter)
    for path in (
        H200,
        *(path for card in CARDS for table in ("products", "reductions") for path in stored(card, table)),
    ):
        for (rule, part), seen in tally(path, True).rules.items():
            counts[rule, TUNING if part == TUNING else HELD_OUT] += seen
    lines = []
    for title, rules in TABLES.items():
        lines += [
            f"### {title}",
            "",
            "| when | verdict | source | tuning: equal | different bits | held out, blind: equal | different bits |",
            "|---|---|---|---:|---:|---:|---:|",
        ]
        for rule in rules:
            numbers = " | ".join(
                f"{counts[rule, part][True]} | {counts[rule, part][False]}" if (rule, part) in counts else "– | –"
                for part in (TUNING, HELD_OUT)
            )
            lines.append(f"| {rule.name} | {rule.verdict} | {rule.source} | {numbers} |")
        lines.append("")
    return "\n".join(lines)


def products_in_markdown() -> str:
    """Return what each predictor says of matrix products, by card, part and type, and a line over all."""
    lines = [
        "| card | part | type | pairs | bits equal | name: right | wrong: equal | name + launch: right | wrong: equal "
        "| order: right | wrong: equal | wrong: differ | unknown | order without the log: wrong: equal | unknown |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    total: Counter[str] = Counter()
    for card in CARDS:
        paths = stored(card, "products")
        groups = groups_by_part(paths)
        with_log, without_log = (predicted(paths, use_log) for use_log in (True, False))
        for part, dtype in product(PARTS, TYPES):
            name, launch = (confusion(groups[part, dtype], each) for each in (predict_by_name, predict_by_launch))
            order, bare = with_log[part, dtype], without_log[part, dtype]
            cells = [
                *(order.pairs, order.bits_equal),
                *(share(name.right, name.pairs), name.count("equal", False)),
                *(share(launch.right, launch.pairs), launch.count("equal", False)),
                *(share(order.right, order.pairs), order.count("equal", False), order.count("differ", True)),
                *(share(order.unknown, order.pairs), bare.count("equal", False), share(bare.unknown, bare.pairs)),
            ]
            lines.append(f"| {card.upper()} | {part} | {dtype} | {' | '.join(map(str, cells))} |")
            if part != TUNING:
                total += Counter(pairs=order.pairs, wrong=order.count("equal", False) + bare.count("equal", False))
    lines += [
        "",
        f"Held out and blind, both cards: {total['pairs']:,} pairs, of which {total['wrong']:,} were said to be equal, "
        "with the log or without, and were not.",
    ]
    return "\n".join(lines)


def reductions_in_markdown() -> str:
    """Return how the order predicts norms and reductions, by card and part, row 0 alone."""
    lines = [
        "| card | part | what | pairs | bits equal | right | wrong: equal | wrong: differ | unknown |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for card in CARDS:
        paths = [*stored(card, "reductions"), *([H200] if card == "h200" else [])]
        found = predicted(paths)
        for part, what in sorted((key for key in found if _is_norm(key[1])), key=lambda key: PARTS.index(key[0])):
            order = found[part, what]
            cells = [
                *(order.pairs, order.bits_equal, share(order.right, order.pairs), order.count("equal", False)),
                *(order.count("differ", True), share(order.unknown, order.pairs)),
            ]
            lines.append(f"| {card.upper()} | {part} | {what} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def attention_in_markdown() -> str:
    """Return the confusion matrices of attention, of one H200."""
    return tables(read_sweep(H200), only="attention")


def _is_norm(what: str) -> bool:
    return any(what.startswith(f"{operation} ") for operation in OPERATIONS)


def evidence_in_markdown() -> str:
    """Return predictions against measured bits in the captures of profiles/, one line per pair of batch sizes."""
    lines = [
        "| capture | batch | predicted equal: equal | not | order changed: different bits | equal "
        "| unknown: equal | not | first origin | repair |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for folder in sorted(path.parent for path in PROFILES.glob("*/evidence.json")):
        traces = sorted(folder.glob("b*.sqlite"))
        for other in traces[1:]:
            diff = attach_evidence(diff_tables(read_trace(traces[0]), read_trace(other)))
            counts = Counter((row.verdict, row.bits_equal) for row in diff.rows if row.bits_equal is not None)
            same = (Verdict.SAME_KERNELS, Verdict.SAME_ORDER)
            numbers = [
                *(sum(counts[verdict, equal] for verdict in same) for equal in (True, False)),
                *(counts[Verdict.ORDER_CHANGED, equal] for equal in (False, True)),
                *(counts[Verdict.UNKNOWN, equal] for equal in (True, False)),
            ]
            first, repair = (diff.evidence.first_origin, diff.evidence.repair) if diff.evidence else (None, None)
            origin = f"`{first[1]}`, {first[0]}" if first else "none"
            minimal = ", ".join(repair.minimal) if repair else "none needed"
            batches = f"{diff.a.info.batch} → {diff.b.info.batch}"
            lines.append(f"| {folder.name} | {batches} | {' | '.join(map(str, numbers))} | {origin} | {minimal} |")
    return "\n".join(lines)


def replaced(text: str, name: str, content: str) -> str:
    """Return text with what stands between the markers of `name` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{DOCUMENT} has no markers for {name}")
    return f"{before}{start}\n\n{content.strip()}\n\n{end}{after}"


SECTIONS: dict[str, Callable[[], str]] = {
    "evidence": evidence_in_markdown,
    "products": products_in_markdown,
    "reductions": reductions_in_markdown,
    "attention": attention_in_markdown,
    "rules": rules_in_markdown,
}


def document(text: str, sections: Collection[str] = SECTIONS.keys()) -> str:
    """Return the document with its written sections up to date; those of the sweeps take minutes."""
    for name in sections:
        text = replaced(text, name, SECTIONS[name]())
    return text


def main() -> int:
    """Rewrite the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
