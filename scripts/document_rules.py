"""Write rules, sweep and measured evidence into docs/reduction-order.md, between the markers.

python scripts/document_rules.py
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from analyse_sweep import read_sweep, rule_counts, tables

from tracediff.diff import Verdict, diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.rules import TABLES
from tracediff.trace import read_trace

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reduction-order.md"
PROFILES = ROOT / "profiles"
SWEEP = PROFILES / "reduction-order" / "h200.jsonl.gz"


def rules_in_markdown() -> str:
    """Return every rule table: name, verdict, source, and the sweep's pairs in which the rule decided."""
    counts = rule_counts(read_sweep(SWEEP))
    lines = []
    for title, rules in TABLES.items():
        lines += [
            f"### {title}",
            "",
            "| when | verdict | source | pairs equal | pairs not |",
            "|---|---|---|---:|---:|",
        ]
        for rule in rules:
            seen = counts.get(rule, Counter())
            numbers = f"{seen[True]} | {seen[False]}" if seen else "– | –"
            lines.append(f"| {rule.name} | {rule.verdict} | {rule.source} | {numbers} |")
        lines.append("")
    return "\n".join(lines)


def sweep_in_markdown() -> str:
    """Return the confusion matrices of the stored sweep, with cuBLASLt's log and without."""
    with_log = tables(read_sweep(SWEEP))
    without_log = tables(read_sweep(SWEEP, use_log=False), only="gemm")
    return f"{with_log}\n### gemm, without cuBLASLt's log\n{without_log.partition('gemm')[2]}"


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


def document(text: str) -> str:
    """Return the document with its written parts up to date."""
    for name, content in (
        ("rules", rules_in_markdown()),
        ("sweep", sweep_in_markdown()),
        ("evidence", evidence_in_markdown()),
    ):
        text = replaced(text, name, content)
    return text


def main() -> int:
    """Rewrite the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
