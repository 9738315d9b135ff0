"""Compare what was measured by sweep_reduction_order.py with what three predictors say; needs no GPU and no torch.

    python scripts/analyse_sweep.py sweep.jsonl
    python scripts/analyse_sweep.py sweep.jsonl --no-log            as for a trace without cuBLASLt's log
    python scripts/analyse_sweep.py sweep.jsonl --wrong 10          examples of wrong and unknown answers

Every two row counts of one group are a pair: the rows that both have (of the first sweep, an H200's: row 0) have equal
bits or not. The predictors: *name* (equal names mean equal bits), *name + launch* (equal names, grids and blocks), and
*order*: `tracediff.diff.verdict.judge_row` itself, as `tracediff diff` uses it (`same-kernels` and `same-order` mean
equal bits, `order-changed` different bits). The parts of a sweep are counted apart: the rules were written from
*tuning*, none from *held-out* or *blind*. In the tables, *wrong: equal* counts pairs said to be equal whose bits
differ, *wrong: differ* the opposite.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from sweep_geometries import TUNING

from tracediff.diff.align import align
from tracediff.diff.result import Kernel, Pair, Verdict
from tracediff.diff.rules import Rule
from tracediff.diff.rules.decide import deciding_rule
from tracediff.diff.rules.k_cuts import cuts_segments
from tracediff.diff.split_k import infer
from tracediff.diff.verdict import judge_row
from tracediff.kernels import KernelName, parse
from tracediff.trace.algorithm import Algorithm, parse_algorithm

_TITLES = {"gemm": "matrix products", "reduction": "norms and reductions", "attention": "attention"}
EQUAL = (Verdict.SAME_KERNELS, Verdict.SAME_ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement: the bits at one row count, and the kernels behind them.

    Attributes:
        rows: How many.
        bits: What stands for the bits of the first 1, 2, … rows, as (rows, what) in ascending order; each holds until
            the next. Equal in two cases of a group: equal bits.
        part: `tuning`, `held-out` or `blind`.
        kernels: In launch order.
    """

    rows: int
    bits: tuple[tuple[int, int | str], ...]
    part: str
    kernels: tuple[Kernel, ...]

    def bits_at(self, rows: Sequence[int]) -> np.ndarray:
        """Return what stands for the bits of the first rows, at each of these row counts."""
        starts, what = zip(*self.bits, strict=True)
        return np.array(what)[np.searchsorted(starts, rows, side="right") - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep's cases by (table, group); cases of one group are comparable."""

    header: dict[str, Any]
    groups: dict[tuple[str, str], list[Case]]
    failed: Counter[str]

    @property
    def gpu(self) -> str:
        """The card, in one word: `H200`."""
        return next((word for word in str(self.header.get("gpu", "CPU")).split() if word != "NVIDIA"), "CPU")


Prediction = tuple[str, str]  # equal, differ or unknown; and why


@cache
def read_sweep(path: Path, use_log: bool = True) -> Sweep:
    """Read a sweep.

    Args:
        path: What sweep_reduction_order.py wrote, or that compressed by `xz`.
        use_log: False forgets cuBLASLt's log.
    """
    names: list[KernelName] = []
    logs: list[Algorithm] = []
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    failed: Counter[str] = Counter()
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        header = json.loads(next(stream))
        for text in stream:
            line = json.loads(text)
            if "name" in line:
                names.append(parse(line["name"]))
            elif "log" in line:
                logs.append(parse_algorithm(line["log"]))
            elif "kernels" in line and not line["kernels"]:
                failed["no kernels in the profile"] += 1
            elif "kernels" in line:
                lines = [logs[index] for index in line["logs"]] if use_log else []
                kernels = _kernels(line["kernels"], names, lines, header.get("sm_count"))
                prefixes = line.get("prefixes") or [(0, line["bits"])]
                bits = tuple((rows, what) for rows, what in prefixes)
                case = Case(rows=line["rows"], bits=bits, part=line.get("part", TUNING), kernels=kernels)
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
    _, verdict, reason = judge_row(_aligned(a, b))
    return _in_words(verdict), reason


def _in_words(verdict: Verdict) -> str:
    return "equal" if verdict in EQUAL else "differ" if verdict is Verdict.ORDER_CHANGED else "unknown"


# Which sides take part in each aligned pair, by the kernel names of both sides.
_ALIGNMENTS: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[bool, bool]]] = {}


def _aligned(a: Case, b: Case) -> list[tuple[Kernel | None, Kernel | None]]:
    """Align the kernels. `align` looks at their names alone, so two sequences of names are aligned once."""
    names = tuple(kernel.parsed.name for kernel in a.kernels), tuple(kernel.parsed.name for kernel in b.kernels)
    sides = _ALIGNMENTS.get(names)
    if sides is None:
        pairs = align(a.kernels, b.kernels)
        sides = _ALIGNMENTS[names] = [(first is not None, second is not None) for first, second in pairs]
    left, right = iter(a.kernels), iter(b.kernels)
    return [(next(left) if in_a else None, next(right) if in_b else None) for in_a, in_b in sides]


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

    @property
    def bits_equal(self) -> int:
        """Pairs with equal bits."""
        return sum(number for (_, equal), number in self.counts.items() if equal)

    @property
    def right(self) -> int:
        """Pairs that were predicted as they are."""
        return self.count("equal", True) + self.count("differ", False)

    @property
    def unknown(self) -> int:
        """Pairs of which nothing was predicted."""
        return self.count("unknown", True) + self.count("unknown", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """All pairs of cases of a group whose kernels are those of `a` and `b`, and how many had equal bits."""

    a: Case
    b: Case
    equal: int
    other: int


def pairs_of(cases: Sequence[Case]) -> Iterator[Pairs]:
    """Yield every pair of a group's cases, those with the same kernels, launches and algorithms taken together."""
    kernels = _distinct(cases)
    rows = [case.rows for case in cases]
    bits = np.array([case.bits_at(rows) for case in cases])
    equal = bits == np.diagonal(bits)  # of case j (row) and i (column): the bits of i's rows, in j and in i
    later, earlier = np.tril_indices(len(cases), -1)
    codes = kernels[earlier] * len(cases) + kernels[later]
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    alike = np.bincount(which, weights=equal[later, earlier]).astype(int)
    for place, both, same in zip(first, np.bincount(which), alike, strict=True):
        yield Pairs(a=cases[earlier[place]], b=cases[later[place]], equal=int(same), other=int(both - same))


def confusion(groups: Iterable[Sequence[Case]], predict: Callable[[Case, Case], Prediction]) -> Confusion:
    """Count predictions over every pair of each group."""
    counts: Counter[tuple[str, bool]] = Counter()
    for cases in groups:
        for pairs in pairs_of(cases):
            said, _ = predict(pairs.a, pairs.b)
            counts[said, True] += pairs.equal
            counts[said, False] += pairs.other
    return Confusion(counts)


def _distinct(cases: Sequence[Case]) -> np.ndarray:
    """Number the cases so that those with the same kernels, launches and algorithms have the same number.

    The number of rows and the workspace are left out: no predictor looks at them, but where rows decide on cuts of k.
    """
    numbers: dict[tuple[Kernel, ...], int] = {}
    rows_matter = any(cuts_segments(kernel) for case in cases for kernel in case.kernels)
    kernels = [case.kernels if rows_matter else tuple(map(_without_rows, case.kernels)) for case in cases]
    return np.array([numbers.setdefault(each, len(numbers)) for each in kernels])


def _without_rows(kernel: Kernel) -> Kernel:
    if kernel.algorithm is None:
        return kernel
    return msgspec.structs.replace(kernel, algorithm=replace(kernel.algorithm, n=None, workspace_bytes=None))


def kind(table: str, group: str) -> str:
    """Name the line of the result table that a group belongs to."""
    words = group.split()
    if table == "gemm":
        return words[-1]
    if table == "attention":
        return f"{words[0]} {words[1]}"
    return group.partition(" width ")[0]


def tables(sweep: Sweep, only: str | None = None, predictors: Collection[str] = PREDICTORS.keys()) -> str:
    """Return the confusion matrices as Markdown, tuning and held-out apart; of one table only where it is named."""
    lines = []
    found = dict.fromkeys((table, cases[0].part) for (table, _), cases in sweep.groups.items() if only in (None, table))
    for table, part in sorted(found, key=lambda each: (each[0], each[1] != TUNING)):
        lines += [
            f"### {sweep.gpu}, {_TITLES[table]}, {part}",
            "",
            "| what | pairs | bits equal | predictor | right | wrong: equal | wrong: differ | unknown |",
            "|---|---:|---:|---|---:|---:|---:|---:|",
        ]
        kinds: dict[str, list[list[Case]]] = defaultdict(list)
        for (name, group), cases in sweep.groups.items():
            if name == table and cases[0].part == part:
                kinds[kind(table, group)].append(cases)
        for what, groups in kinds.items():
            lines += [_line(what, each, confusion(groups, PREDICTORS[each])) for each in predictors]
        lines.append("")
    return "\n".join(lines)


def _line(what: str, predictor: str, matrix: Confusion) -> str:
    return (
        f"| {what} | {matrix.pairs} | {matrix.bits_equal} | {predictor} | {share(matrix.right, matrix.pairs)} "
        f"| {matrix.count('equal', False)} | {matrix.count('differ', True)} | {share(matrix.unknown, matrix.pairs)} |"
    )


def share(part: int, whole: int) -> str:
    """Return a count with its share in percent."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    # Rounding must not turn "almost all" into all, nor "some" into none.
    shown = f"{percent:.1f}" if part in (0, whole) or 0.05 <= percent < 99.95 else f"{percent:.3f}"
    return f"{part} ({shown} %)"


@dataclass(slots=True)
class Example:
    """Pairs with one answer, and one of them in words."""

    pairs: int = 0
    text: str = ""

    def add(self, pairs: int, text: str) -> None:
        """Count pairs; the first text stays."""
        self.pairs += pairs
        self.text = self.text or text


def examples(sweep: Sweep, limit: int) -> str:
    """Return the commonest wrong and unknown answers of the order predictor, with an example of each."""
    seen: dict[tuple[str, str, str, str, bool], Example] = {}
    for (table, group), cases in sweep.groups.items():
        for pairs in pairs_of(cases):
            said, reason = predict_by_order(pairs.a, pairs.b)
            for equal, count in ((True, pairs.equal), (False, pairs.other)):
                if count and (said == "unknown" or (said == "equal") != equal):
                    entry = seen.setdefault((cases[0].part, kind(table, group), said, reason, equal), Example())
                    entry.add(count, f"{group}: {pairs.a.rows} → {pairs.b.rows} rows")
    lines = []
    for (part, what, said, reason, equal), found in sorted(seen.items(), key=lambda each: -each[1].pairs)[:limit]:
        bits = "equal" if equal else "differ"
        lines.append(f"{found.pairs:6d}  {part}, {what}: said {said}, bits {bits}: {reason}; e.g. {found.text}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What tracediff says of every pair of a sweep, against the bits.

    Attributes:
        order: The predictions, by part and what `kind` calls the group.
        rules: For every rule and part, the pairs in which it decided: how many had equal bits (True), how many other.
    """

    order: dict[tuple[str, str], Confusion]
    rules: dict[tuple[Rule, str], Counter[bool]]


# The kernels on which a table of the sweep depends; the others around them never sum.
_ROLE = {"gemm": "gemm", "attention": "attention", "reduction": "reduction"}


@cache
def tally(path: Path, use_log: bool) -> Tally:
    """Judge every pair of a stored sweep, once for all tables that count them."""
    order: dict[tuple[str, str], Confusion] = defaultdict(lambda: Confusion(Counter()))
    rules: dict[tuple[Rule, str], Counter[bool]] = defaultdict(Counter)
    for (table, group), cases in read_sweep(path, use_log).groups.items():
        part = cases[0].part
        found = order[part, kind(table, group)].counts
        for pairs in pairs_of(cases):
            judged, verdict, _ = judge_row(_aligned(pairs.a, pairs.b))
            said, rule = _in_words(verdict), _first_rule(judged, _ROLE[table])
            found[said, True] += pairs.equal
            found[said, False] += pairs.other
            if rule is not None:
                rules[rule, part][True] += pairs.equal
                rules[rule, part][False] += pairs.other
    return Tally(order=dict(order), rules=dict(rules))


def _first_rule(judged: Iterable[Pair], role: str) -> Rule | None:
    """Return the rule for the first kernels of this role that changed: repeats of one sum count once."""
    for pair in judged:
        if pair.a is None or pair.b is None or {pair.a.parsed.role, pair.b.parsed.role} != {role}:
            continue
        if pair.verdict is not Verdict.SAME_KERNELS:
            return deciding_rule(pair.a, pair.b)
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
