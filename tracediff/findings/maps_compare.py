"""Two maps side by side: which sums did another card, library or setting change?

Hashes compare only where both maps ran the same weights and inputs and hashed bits alike. Where they did not, orders
and classes still do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from tracediff.errors import TracediffError
from tracediff.findings.maps import BatchMap, Count, ModuleMap
from tracediff.findings.maps_classes import classes_of

KIND = "map-diff"
SCHEMA = 1


class Gate(StrEnum):
    """What `--fail-on` can ask of two maps."""

    BITS = "bits"
    ORDER = "order"
    CLASSES = "classes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleChange:
    """One module in both maps, over the row counts that both measured.

    Attributes:
        name, shape, keys: Which module.
        rows: Row counts in common.
        bits_changed: Those whose hash differs, or that vary from run to run in one map; None where the inputs differ,
            so that nothing can be said.
        order_changed: Those whose order differs in words; None where a map has no orders.
        classes: How many classes of bit-equal counts each map has among these rows, (a, b).
        varying: Counts that vary from run to run in a and in b.
        split_apart: A pair of counts that is equal in a and not in b; None where there is none.
        joined: A pair that is equal in b and not in a.
        time_ratio: Summed time in b over that in a; None where a time is unknown.
        example: The first changed order, `(rows, a, b)`.
    """

    name: str
    shape: str
    keys: int | None
    rows: tuple[int, ...]
    bits_changed: tuple[int, ...] | None
    order_changed: tuple[int, ...] | None
    classes: tuple[int, int]
    varying: tuple[tuple[int, ...], tuple[int, ...]]
    split_apart: tuple[int, int] | None
    joined: tuple[int, int] | None
    time_ratio: float | None
    example: tuple[int, str, str] | None

    @property
    def classes_changed(self) -> bool:
        """Whether other row counts are equal to each other."""
        return self.split_apart is not None or self.joined is not None or self.varying[0] != self.varying[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDiff:
    """Two maps, compared.

    Attributes:
        a, b: The maps.
        changes: Modules that both have, in a's order.
        only_a, only_b: Labels of modules that one map alone has, or that share no row count.
        warnings: What makes the comparison less than it seems, one sentence each.
    """

    a: BatchMap
    b: BatchMap
    changes: tuple[ModuleChange, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    warnings: tuple[str, ...]

    def failing(self, gates: Iterable[Gate]) -> dict[Gate, int]:
        """Return for each gate how many modules fail it, zeros left out.

        Raises:
            TracediffError: A gate asks for what could be compared of no module.
        """
        gates = tuple(gates)
        for gate, known in (
            (Gate.BITS, [change.bits_changed is not None for change in self.changes]),
            (Gate.ORDER, [change.order_changed is not None for change in self.changes]),
        ):
            if gate in gates and not any(known):
                why = next(iter(self.warnings), "the maps hold none")
                raise TracediffError(f"--fail-on {gate}: no module's {gate} could be compared", why)
        tests = {
            Gate.BITS: lambda change: bool(change.bits_changed),
            Gate.ORDER: lambda change: bool(change.order_changed),
            Gate.CLASSES: lambda change: change.classes_changed,
            Gate.UNKNOWN: lambda change: change.bits_changed is None,
        }
        counts = {gate: sum(map(tests[gate], self.changes)) for gate in gates}
        if Gate.UNKNOWN in counts:
            counts[Gate.UNKNOWN] += len(self.only_a) + len(self.only_b)
        return {gate: count for gate, count in counts.items() if count}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            **{side: _header(each) for side, each in (("a", self.a), ("b", self.b))},
            "modules": [{**asdict(change), "classes_changed": change.classes_changed} for change in self.changes],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "warnings": list(self.warnings),
        }


def gates_named(names: Sequence[str]) -> tuple[Gate, ...]:
    """Return gates from what a user wrote: `bits,classes`, or several options.

    Raises:
        TracediffError: An unknown word.
    """
    words = [word for name in names for word in name.split(",") if word]
    unknown = next((word for word in words if word not in list(Gate)), None)
    if unknown is not None:
        raise TracediffError(f"--fail-on {unknown} means nothing for two maps", f"choose from {', '.join(Gate)}")
    return tuple(dict.fromkeys(Gate(word) for word in words))


def compare_maps(a: BatchMap, b: BatchMap) -> MapDiff:
    """Compare two maps, module by module.

    Raises:
        TracediffError: They have no module in common.
    """
    of_b = {module.identity: module for module in b.modules}
    changes = []
    compared = set()
    for module in a.modules:
        other = of_b.get(module.identity)
        change = None if other is None else _compare(module, other, same_hash=a.hashed == b.hashed)
        if change is not None:
            changes.append(change)
            compared.add(module.identity)
    if not changes:
        raise TracediffError("the two maps have no module and row count in common", "map the same model with both")
    return MapDiff(
        a=a,
        b=b,
        changes=tuple(changes),
        only_a=tuple(module.label for module in a.modules if module.identity not in compared),
        only_b=tuple(module.label for module in b.modules if module.identity not in compared),
        warnings=tuple(_warnings(a, b, changes)),
    )


def _compare(a: ModuleMap, b: ModuleMap, same_hash: bool) -> ModuleChange | None:
    of_b = {count.rows: count for count in b.counts}
    pairs = [(count, of_b[count.rows]) for count in a.counts if count.rows in of_b]
    if not pairs:
        return None
    rows = tuple(x.rows for x, _ in pairs)
    comparable = same_hash and bool(a.inputs) and a.inputs == b.inputs
    ordered = [(x, y) for x, y in pairs if x.order is not None and y.order is not None]
    changed = [(x, y) for x, y in ordered if x.order != y.order]
    split, joined = _pairs_that_moved(pairs)
    both = classes_of(_only(a, rows)), classes_of(_only(b, rows))
    return ModuleChange(
        name=a.name,
        shape=a.shape,
        keys=a.keys,
        rows=rows,
        bits_changed=tuple(x.rows for x, y in pairs if x.bits is None or x.bits != y.bits) if comparable else None,
        order_changed=tuple(x.rows for x, _ in changed) if ordered else None,
        classes=(len(both[0].equal), len(both[1].equal)),
        varying=(both[0].varying, both[1].varying),
        split_apart=split,
        joined=joined,
        time_ratio=_time_ratio(pairs),
        example=(changed[0][0].rows, changed[0][0].order or "", changed[0][1].order or "") if changed else None,
    )


def _only(module: ModuleMap, rows: Sequence[int]) -> ModuleMap:
    kept = set(rows)
    return replace(module, counts=tuple(count for count in module.counts if count.rows in kept))


def _pairs_that_moved(pairs: Sequence[tuple[Count, Count]]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the first pair of counts that is equal in a alone, and the first that is equal in b alone.

    Each count is compared with the first of its class on either side, which finds a pair wherever there is one.
    """
    first_in_a: dict[str, tuple[Count, Count]] = {}
    first_in_b: dict[str, tuple[Count, Count]] = {}
    split = joined = None
    for x, y in pairs:
        if x.bits is None or y.bits is None:
            continue
        before = first_in_a.setdefault(x.bits, (x, y))
        if split is None and before[1].bits != y.bits:
            split = before[0].rows, x.rows
        before = first_in_b.setdefault(y.bits, (x, y))
        if joined is None and before[0].bits != x.bits:
            joined = before[0].rows, x.rows
    return split, joined


def _time_ratio(pairs: Sequence[tuple[Count, Count]]) -> float | None:
    known = [(x.nanoseconds, y.nanoseconds) for x, y in pairs if x.nanoseconds and y.nanoseconds]
    if len(known) != len(pairs):
        return None
    return sum(y for _, y in known) / sum(x for x, _ in known)


def _warnings(a: BatchMap, b: BatchMap, changes: Sequence[ModuleChange]) -> list[str]:
    found = []
    if (a.model, a.dtype) != (b.model, b.dtype):
        found.append(f"other models: {a.model} {a.dtype} and {b.model} {b.dtype}")
    unknown = [change for change in changes if change.bits_changed is None]
    if a.hashed != b.hashed:
        found.append("the maps hashed bits in two ways: bits are not compared, orders and classes are")
    elif unknown:
        found.append(
            f"{len(unknown)} of {len(changes)} modules had other weights or inputs: their bits are not compared,"
            " their orders and classes are"
        )
    if a.machine.get("gpu") != b.machine.get("gpu"):
        found.append("other GPUs: times are of two cards")
    return found


def _header(found: BatchMap) -> dict[str, Any]:
    return {
        "machine": found.machine,
        "model": found.model,
        "dtype": found.dtype,
        "setting": found.setting,
        "layers": found.layers,
    }
