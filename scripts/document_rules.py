"""Write rules, sweep and measured evidence into docs/reduction-order.md, between the markers.

python scripts/document_rules.py
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from analyse_sweep import read_sweep, rule_counts, tables
from sweep_geometries import HELD_OUT, TUNING

from tracediff.diff import Verdict, diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.rules import TABLES, Rule
from tracediff.trace import read_trace

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reduction-order.md"
PROFILES = ROOT / "profiles"
SWEEPS = PROFILES / "reduction-order"
H200 = SWEEPS / "h200.jsonl.gz"
H100_PRODUCTS = SWEEPS / "h100-products.jsonl.gz"
H100_REDUCTIONS = SWEEPS / "h100-reductions.jsonl.gz"


def rules_in_markdown() -> str:
    """Return every rule table: name, verdict, source, and the sweeps' pairs in which the rule decided."""
    counts: dict[tuple[Rule, str], Counter[bool]] = defaultdict(Counter)
    for path in (H200, H100_PRODUCTS, H100_REDUCTIONS):
        for (rule, part), seen in rule_counts(read_sweep(path)).items():
            counts[rule, part] += seen
    lines = []
    for title, rules in TABLES.items():
        lines += [
            f"### {title}",
            "",
            "| when | verdict | source | tuning: equal | other bits | held out: equal | other bits |",
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
    """Return the confusion matrices of the H100's matrix products, with cuBLASLt's log and without."""
    with_log = tables(read_sweep(H100_PRODUCTS))
    without_log = tables(read_sweep(H100_PRODUCTS, use_log=False), predictors=("order",))
    return f"{with_log}\n{without_log.replace(' matrix products', ' matrix products without the log')}"


def sweep_in_markdown() -> str:
    """Return the confusion matrices of the H100's norms and of the H200's sweep."""
    without_log = tables(read_sweep(H200, use_log=False), only="gemm", predictors=("order",))
    parts = [
        tables(read_sweep(H100_REDUCTIONS), predictors=("order",)),
        tables(read_sweep(H200)),
        without_log.replace(" matrix products", " matrix products without the log"),
    ]
    return "\n".join(parts)


def evidence_in_markdown() -> str:
    """Return predictions against measured bits in the captures of profiles/, one line per pair of batch sizes."""
    lines = [
        "| capture | batch | predicted equal: equal | not | order changed: other bits | equal | unknown: equal | not "
        "| first origin | repair |",
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


PARTS: dict[str, Callable[[], str]] = {
    "evidence": evidence_in_markdown,
    "products": products_in_markdown,
    "sweep": sweep_in_markdown,
    "rules": rules_in_markdown,
}


def document(text: str, parts: Collection[str] = PARTS.keys()) -> str:
    """Return the document with its written parts up to date; those of the H100 take minutes."""
    for name in parts:
        text = replaced(text, name, PARTS[name]())
    return text


def main() -> int:
    """Rewrite the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
