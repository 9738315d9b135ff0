"""Compare what was measured by sweep_reduction_order.py with what three predictors say; needs no GPU and no torch.

    python scripts/analyse_sweep.py sweep.jsonl.gz
    python scripts/analyse_sweep.py sweep.jsonl.gz --no-log            as for a trace without cuBLASLt's log
    python scripts/analyse_sweep.py sweep.jsonl.gz --wrong 10          examples of wrong and unknown answers

Every two row counts of one group are a pair: row 0 of both has the same bits or not. The predictors: *name* (equal
names mean equal bits), *name + launch* (equal names, grids and blocks), and *order*: `tracediff.diff.verdict.judge_row`
itself, as `tracediff diff` uses it (`same-kernels` and `same-order` mean equal bits, `order-changed` other bits).
In the tables, *wrong: equal* counts pairs said to be equal whose bits differ, *wrong: differ* the opposite.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from tracediff.diff.align import align
from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules import Rule, decide
from tracediff.diff.rules.decide import deciding_rule
from tracediff.diff.split_k import infer
from tracediff.diff.verdict import judge_row
from tracediff.kernels import KernelName, parse
from tracediff.trace.algorithm import Algorithm, parse_algorithm

EQUAL = (Verdict.SAME_KERNELS, Verdict.SAME_ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement: row 0's bits at one row count, and the kernels behind them."""

    rows: int
    bits: str
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep's cases by (table, group); cases of one group are comparable."""

    header: dict[str, Any]
    groups: dict[tuple[str, str], list[Case]]
    failed: Counter[str]


Prediction = tuple[str, str]  # equal, differ or unknown; and why


@cache
def read_sweep(path: Path, use_log: bool = True) -> Sweep:
    """Read a sweep.

    Args:
        path: What sweep_reduction_order.py wrote.
        use_log: False forgets cuBLASLt's log.
    """
    names: list[KernelName] = []
    logs: list[Algorithm] = []
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    failed: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        header = json.loads(next(stream))
        for text in stream:
            line = json.loads(text)
            if "name" in line:
                names.append(parse(line["name"]))
            elif "log" in line:
                logs.append(parse_algorithm(line["log"]))
            elif "bits" in line and not line["kernels"]:
                failed["no kernels in the profile"] += 1
            elif "bits" in line:
                lines = [logs[index] for index in line["logs"]] if use_log else []
                kernels = _kernels(line["kernels"], names, lines, header.get("sm_count"))
                case = Case(rows=line["rows"], bits=line["bits"], kernels=kernels)
                groups[line["table"], line["group"]].append(case)
            else:
                failed[line.get("failed") or line.get("note", "")] += 1
    return Sweep(header=header, groups=groups, failed=failed)


def _kernels(
    rows: list[list[Any]], names: list[KernelName], lines: list[Algorithm], sm_count: int | None
) -> tuple[Kernel, ...]:
    """Make the kernels of one case; the log's lines belong to its GEMMs, in order."""
    remaining = iter(lines)
    kernels = []
    for name, grid, block, registers, shared_memory in rows:
        parsed = names[name]
        kernels.append(
            Kernel(
                parsed=parsed,
                split_k=None,
                split_k_source=None,
                grid=tuple(grid),
                block=tuple(block),
                registers=registers,
                shared_memory_bytes=shared_memory,
                duration_ns=0,
                algorithm=next(remaining, None) if parsed.role == "gemm" else None,
            )
        )
    return infer(kernels, sm_count)


def predict_by_name(a: Case, b: Case) -> Prediction:
    """Equal names mean equal bits."""
    same = [kernel.parsed.name for kernel in a.kernels] == [kernel.parsed.name for kernel in b.kernels]
    return ("equal", "same names") if same else ("differ", "other names")


def predict_by_launch(a: Case, b: Case) -> Prediction:
    """Equal names and launch configurations mean equal bits."""
    first, second = ([(kernel.parsed.name, kernel.grid, kernel.block) for kernel in case.kernels] for case in (a, b))
    return ("equal", "same launches") if first == second else ("differ", "other launches")


def predict_by_order(a: Case, b: Case) -> Prediction:
    """What tracediff says."""
    _, verdict, reason = judge_row(align(a.kernels, b.kernels))
    return ("equal" if verdict in EQUAL else "differ" if verdict is Verdict.ORDER_CHANGED else "unknown"), reason


PREDICTORS: dict[str, Callable[[Case, Case], Prediction]] = {
    "name": predict_by_name,
    "name + launch": predict_by_launch,
    "order": predict_by_order,
}


@dataclass(slots=True)
class Confusion:
    """Predictions of one predictor against the bits."""

    counts: Counter[tuple[str, bool]]

    def count(self, predicted: str, equal: bool) -> int:
        """Pairs with this prediction and these bits."""
        return self.counts[predicted, equal]

    @property
    def pairs(self) -> int:
        """All pairs."""
        return self.counts.total()


def confusion(groups: Iterable[list[Case]], predict: Callable[[Case, Case], Prediction]) -> Confusion:
    """Count predictions over every pair of each group."""
    counts: Counter[tuple[str, bool]] = Counter()
    for cases in groups:
        known: dict[tuple[int, int], Prediction] = {}
        identity = _distinct(cases)
        for (first, a), (second, b) in combinations(enumerate(cases), 2):
            key = identity[first], identity[second]
            if key not in known:
                known[key] = predict(a, b)
            counts[known[key][0], a.bits == b.bits] += 1
    return Confusion(counts)


def _distinct(cases: list[Case]) -> list[int]:
    """Number the cases so that those with the same kernels, launches and algorithms have the same number.

    The number of rows and the workspace are left out: no predictor looks at them.
    """
    numbers: dict[tuple[Kernel, ...], int] = {}
    return [numbers.setdefault(tuple(map(_without_rows, case.kernels)), len(numbers)) for case in cases]


def _without_rows(kernel: Kernel) -> Kernel:
    if kernel.algorithm is None:
        return kernel
    return replace(kernel, algorithm=replace(kernel.algorithm, n=None, workspace_bytes=None))


def kind(table: str, group: str) -> str:
    """Name the line of the result table that a group belongs to."""
    words = group.split()
    if table == "gemm":
        return words[-1]
    if table == "attention":
        return f"{words[0]} {words[1]}"
    return group


def tables(sweep: Sweep, only: str | None = None) -> str:
    """Return the confusion matrices as Markdown, of one table only where it is named."""
    lines = []
    for table in dict.fromkeys(name for name, _ in sweep.groups if only in (None, name)):
        lines += [
            f"### {table}",
            "",
            "| what | pairs | bits equal | predictor | right | wrong: equal | wrong: differ | unknown |",
            "|---|---:|---:|---|---:|---:|---:|---:|",
        ]
        kinds: dict[str, list[list[Case]]] = defaultdict(list)
        for (name, group), cases in sweep.groups.items():
            if name == table:
                kinds[kind(table, group)].append(cases)
        for what, groups in kinds.items():
            for predictor, predict in PREDICTORS.items():
                matrix = confusion(groups, predict)
                unknown = matrix.count("unknown", True) + matrix.count("unknown", False)
                wrongly_equal, wrongly_differ = matrix.count("equal", False), matrix.count("differ", True)
                right = matrix.count("equal", True) + matrix.count("differ", False)
                equal = sum(matrix.count(said, True) for said in ("equal", "differ", "unknown"))
                lines.append(
                    f"| {what} | {matrix.pairs} | {equal} | {predictor} | {_share(right, matrix.pairs)} "
                    f"| {wrongly_equal} | {wrongly_differ} | {_share(unknown, matrix.pairs)} |"
                )
        lines.append("")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    percent = 100 * part / whole
    # Rounding must not turn "almost all" into all, nor "some" into none.
    shown = f"{percent:.1f}" if part in (0, whole) or 0.05 <= percent < 99.95 else f"{percent:.3f}"
    return f"{part} ({shown} %)"


def examples(sweep: Sweep, limit: int) -> str:
    """Return the commonest wrong and unknown answers of the order predictor, with an example of each."""
    seen: dict[tuple[str, str, str, bool], list[str]] = defaultdict(list)
    for (table, group), cases in sweep.groups.items():
        for a, b in combinations(cases, 2):
            said, reason = predict_by_order(a, b)
            equal = a.bits == b.bits
            if said == "unknown" or (said == "equal") != equal:
                seen[kind(table, group), said, reason, equal].append(f"{group}: {a.rows} → {b.rows} rows")
    lines = []
    for (what, said, reason, equal), found in sorted(seen.items(), key=lambda entry: -len(entry[1]))[:limit]:
        bits = "equal" if equal else "differ"
        lines.append(f"{len(found):6d}  {what}: said {said}, bits {bits}: {reason}; e.g. {found[0]}")
    return "\n".join(lines)


# The kernels on which a table of the sweep depends; the others around them never sum.
_ROLE = {"gemm": "gemm", "attention": "attention", "reduction": "reduction"}


def rule_counts(sweep: Sweep) -> dict[Rule, Counter[bool]]:
    """Count, for every rule, the pairs of cases in which it decided: how many had equal bits (True), how many other."""
    counts: dict[Rule, Counter[bool]] = defaultdict(Counter)
    for (table, _), cases in sweep.groups.items():
        known: dict[tuple[int, int], Rule | None] = {}
        identity = _distinct(cases)
        for (first, a), (second, b) in combinations(enumerate(cases), 2):
            key = identity[first], identity[second]
            if key not in known:
                known[key] = _first_rule(a, b, _ROLE[table])
            if (rule := known[key]) is not None:
                counts[rule][a.bits == b.bits] += 1
    return counts


def _first_rule(a: Case, b: Case, role: str) -> Rule | None:
    """Return the rule for the first kernels of this role that changed: repeats of one sum count once."""
    for first, second in align(a.kernels, b.kernels):
        if first is None or second is None or {first.parsed.role, second.parsed.role} != {role}:
            continue
        if decide(first, second)[0] is not Verdict.SAME_KERNELS:
            return deciding_rule(first, second)
    return None


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--no-log", action="store_true", help="forget cuBLASLt's log")
    parser.add_argument(
        "--wrong", type=int, default=0, metavar="N", help="also print N kinds of wrong or unknown answers"
    )
    arguments = parser.parse_args()
    sweep = read_sweep(arguments.sweep, use_log=not arguments.no_log)
    print(", ".join(f"{word} {value}" for word, value in sweep.header.items()))
    print(f"{sum(map(len, sweep.groups.values()))} cases in {len(sweep.groups)} groups; failed: {dict(sweep.failed)}\n")
    print(tables(sweep))
    if arguments.wrong:
        print(examples(sweep, arguments.wrong))
    return 0


if __name__ == "__main__":
    sys.exit(main())
