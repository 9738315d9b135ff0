"""The result of a diff: immutable, complete, and all that any report needs.

`msgspec.structs.replace` makes a changed copy of any part of it.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from tracediff.diff.compared import Executions, NotCompared
from tracediff.diff.places import kind_of, module_name, phase_name
from tracediff.kernels import KernelName
from tracediff.text import count, printable, shorten
from tracediff.trace.algorithm import Algorithm
from tracediff.trace.table import Coverage, TraceInfo

if TYPE_CHECKING:
    from tracediff.measured import Bits, ModuleBits, RunEvidence, State


_LONGEST = 60


class Verdict(StrEnum):
    """What a change of kernels means for bits, predicted from the trace alone; later members are worse."""

    SAME_KERNELS = "same-kernels"
    SAME_ORDER = "same-order"
    UNKNOWN = "unknown"
    ORDER_CHANGED = "order-changed"


SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


class Kernel(Struct, frozen=True, kw_only=True):
    """One executed kernel.

    Attributes:
        parsed: What its name says; `parsed.name` is the full demangled name.
        split_k: Into how many parts k is cut; 1 unsplit, None unknown or not a GEMM.
        split_k_source: `log` (cuBLASLt said it), `name`, `inferred` (from the launch) or None.
        grid, block: Launch configuration.
        registers: Registers per thread.
        shared_memory_bytes: Static and dynamic shared memory per block.
        duration_ns: Time on the GPU.
        algorithm: What cuBLASLt logged for this launch.
        spelled: The name that the other trace's profiler spells this kernel by, where it is known to be the same.
    """

    parsed: KernelName
    split_k: int | None
    split_k_source: str | None
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    registers: int
    shared_memory_bytes: int
    duration_ns: int
    algorithm: Algorithm | None = None
    spelled: str | None = None

    def __repr__(self) -> str:
        """Return one line: a name alone can be hundreds of characters long."""
        return printable(f"<Kernel {shorten(self.identity, _LONGEST)}>")

    @property
    def identity(self) -> str:
        """The name by which kernels are told apart."""
        return self.spelled or self.parsed.name

    @property
    def launch(self) -> tuple[object, ...]:
        """What must be equal for the kernel to do the same work in the same way."""
        return (
            self.identity,
            self.split_k,
            self.split_k_source,
            self.grid,
            self.block,
            self.registers,
            self.shared_memory_bytes,
        )


class Pair(Struct, frozen=True, kw_only=True):
    """Two aligned kernels of a row; one side is None where the other has no counterpart.

    Attributes:
        a, b: The kernels.
        index_a, index_b: Their positions in the row's `a` and `b`, None where the side is.
        verdict: What the change means for bits.
        reason: Why, in one phrase.
    """

    a: Kernel | None
    b: Kernel | None
    verdict: Verdict
    reason: str
    index_a: int | None = None
    index_b: int | None = None

    @property
    def launched_alike(self) -> bool:
        """Whether both sides run the same kernel with the same launch configuration and split."""
        return self.a is not None and self.b is not None and self.a.launch == self.b.launch


# With a dict: what is derived from a row is derived once, however many reports ask.
class Row(Struct, frozen=True, kw_only=True, dict=True):
    """One (phase, module): its kernels in both traces, in launch order.

    Attributes:
        phase: Outermost range; None outside every range.
        layer: Block index; None outside the blocks.
        module: Innermost range; empty directly under the phase.
        a, b: Kernels in launch order; empty where the trace has none here.
        pairs: The same kernels, aligned.
        verdict: The worst verdict of the pairs.
        reason: Why, in one phrase.
        evidence: What was measured of this module at capture; None without a measurement.
    """

    phase: str | None
    layer: int | None
    module: str
    a: tuple[Kernel, ...]
    b: tuple[Kernel, ...]
    pairs: tuple[Pair, ...]
    verdict: Verdict
    reason: str
    evidence: ModuleBits | None = None

    def __repr__(self) -> str:
        """Return one line: it holds every kernel twice."""
        where = f"{phase_name(self.phase)}, {shorten(module_name(self.module), _LONGEST)}"
        kernels = f"{len(self.a):,} → {count(len(self.b), 'kernel')}"
        return printable(f"<Row {where}: {kernels}, {self.verdict}>")

    @cached_property
    def splitk_reduce(self) -> tuple[int, int]:
        """Kernels on each side that only add the parts of a split-K GEMM."""
        return _reduces(self.a), _reduces(self.b)

    @cached_property
    def split_k(self) -> tuple[int | None, int | None]:
        """The split-K factor of the first GEMM on each side."""
        return _first_split(self.a), _first_split(self.b)

    @cached_property
    def duration_ns(self) -> tuple[int, int]:
        """GPU time on each side."""
        return sum(kernel.duration_ns for kernel in self.a), sum(kernel.duration_ns for kernel in self.b)

    @cached_property
    def names_differ(self) -> bool:
        """Whether the sequences of kernel names differ."""
        return [kernel.identity for kernel in self.a] != [kernel.identity for kernel in self.b]

    @cached_property
    def changed(self) -> bool:
        """Whether a kernel, its launch configuration or its split differs."""
        return not all(pair.launched_alike for pair in self.pairs)

    @cached_property
    def kind(self) -> str:
        """The module's path with its block's number replaced by `*`: equal for the same place in every block."""
        return kind_of(self.module, self.layer)

    @property
    def isolated(self) -> Bits | None:
        """Its outputs' bits on equal inputs; None where they were not measured."""
        return None if self.evidence is None else self.evidence.isolated

    @property
    def propagated(self) -> Bits | None:
        """Its outputs' bits in the run, each side with its own inputs; None where they were not compared."""
        return None if self.evidence is None else self.evidence.propagated

    @property
    def bits_equal(self) -> bool | None:
        """Whether equal inputs gave equal bits; None where that was not measured."""
        return None if self.isolated is None else self.isolated.equal

    @property
    def state(self) -> State | None:
        """What the module does to bits; None where that was not measured."""
        return None if self.evidence is None else self.evidence.state

    @cached_property
    def contradicted(self) -> bool:
        """Whether the module was predicted to keep its bits and gave others on equal inputs.

        The other way round is no contradiction: another order may round to the same bits.
        """
        return self.verdict in (Verdict.SAME_KERNELS, Verdict.SAME_ORDER) and self.bits_equal is False


def _reduces(kernels: tuple[Kernel, ...]) -> int:
    return sum(kernel.parsed.role == "splitk_reduce" for kernel in kernels)


def _first_split(kernels: tuple[Kernel, ...]) -> int | None:
    return next((kernel.split_k for kernel in kernels if kernel.parsed.role == "gemm"), None)


class Side(Struct, frozen=True, kw_only=True):
    """One of the two traces.

    Attributes:
        info: Where it comes from.
        coverage: What of it was attributed to ranges.
        kernels: Kernels compared (one iteration of each phase).
        splitk_reduce: Of these, kernels that only add the parts of a split-K GEMM.
        duration_ns: Their GPU time.
        notes: What the reader of the trace had to say, one sentence each.
        executions: How often each phase ran that ran more than once, and the GPU time of each execution.
        not_compared: What of the trace was left out of the comparison.
    """

    info: TraceInfo
    coverage: Coverage
    kernels: int
    splitk_reduce: int
    duration_ns: int
    notes: tuple[str, ...]
    executions: tuple[Executions, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()


class TraceDiff(Struct, frozen=True, kw_only=True):
    """Two traces compared.

    Attributes:
        a, b: The traces.
        rows: Every (phase, module) that launched a kernel in either trace, in the order of the run.
        warnings: Why the comparison may mislead (another GPU, another dtype, …), one sentence each.
        evidence: What was measured of the two batch sizes as whole runs; None without a measurement.
        whole: The comparison of all phases, where `rows` are of some.
    """

    a: Side
    b: Side
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    evidence: RunEvidence | None = None
    whole: TraceDiff | None = None

    @property
    def judged(self) -> TraceDiff:
        """What is judged: the whole run, whichever phases are shown. Evidence and tokens are of whole runs."""
        return self.whole or self

    def __repr__(self) -> str:
        """Return one line: the rows hold every kernel."""
        return f"<TraceDiff {self.in_a_line}>"

    @property
    def in_a_line(self) -> str:
        """The traces, and the answer in a sentence."""
        from tracediff.diff.answer import answer  # noqa: PLC0415 -- the answer is made of this

        return printable(f"{self.a.info.path} → {self.b.info.path}: {answer(self).sentence}")

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How many rows have each verdict."""
        counts = dict.fromkeys(Verdict, 0)
        for row in self.rows:
            counts[row.verdict] += 1
        return counts

    @property
    def not_compared(self) -> tuple[NotCompared, ...]:
        """What of either trace was left out of the comparison."""
        return (*self.a.not_compared, *self.b.not_compared)

    @property
    def differs(self) -> bool:
        """Whether anything but time differs, whatever it means for bits."""
        return any(row.changed for row in self.rows)
