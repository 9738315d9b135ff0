"""Write the rule tables and the sweep's result into docs/reduction-order.md, between the markers.

python scripts/document_rules.py
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from analyse_sweep import read_sweep, rule_counts, tables

from tracediff.diff.rules import TABLES

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reduction-order.md"
SWEEP = ROOT / "profiles" / "reduction-order" / "h200.jsonl.gz"


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


def replaced(text: str, name: str, content: str) -> str:
    """Return text with what stands between the markers of `name` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{DOCUMENT} has no markers for {name}")
    return f"{before}{start}\n\n{content.strip()}\n\n{end}{after}"


def document(text: str) -> str:
    """Return the document with both parts up to date."""
    return replaced(replaced(text, "rules", rules_in_markdown()), "sweep", sweep_in_markdown())


def main() -> int:
    """Rewrite the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
