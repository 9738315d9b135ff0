"""What of a trace is compared, and what was left out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from tracediff.diff.compared import Executions, LeftOut, NotCompared
from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

#: Kernels in no module that are listed, of each role.
MOST_UNNAMED = 500
#: Phases that ran several times and are told one by one.
_MOST_NOTES = 4
#: Roles in the order in which kernels in no module are listed: first those that say what was computed. The kernel that
#: adds the parts of a split-K product is judged with the product and listed there.
_ROLES = ("gemm", "attention", "reduction", "elementwise", "copy", "other")


class Excerpt(Struct, frozen=True, kw_only=True):
    """Kernels that are compared: one execution of one phase, or those of one role outside every range.

    Attributes:
        phase: What it is called in the result: the phase's name, with the execution where several are compared.
        kernels: Indices of its kernels in the table, in launch order.
        module: What these kernels are called, in place of the modules the table gives them.
    """

    phase: str | None
    kernels: Int64
    module: str | None = None


class Selection(Struct, frozen=True, kw_only=True):
    """The kernels of one trace to compare.

    Attributes:
        excerpts: In order of the run, kernels outside every range last.
        notes: What is compared of phases that ran more than once, one sentence each.
        executions: How often each compared phase ran, where that is more than once.
        not_compared: What was left out.
    """

    excerpts: tuple[Excerpt, ...]
    notes: tuple[str, ...]
    executions: tuple[Executions, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()


class Collected(Struct, kw_only=True, dict=True):
    """The selection of the trace `table` while it is made."""

    table: KernelTable
    excerpts: list[Excerpt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    executions: list[Executions] = field(default_factory=list)
    not_compared: list[NotCompared] = field(default_factory=list)

    def leave_out(self, why: LeftOut, phase: str | None, executions: int, kernels: int) -> None:
        """Count kernels that are not compared."""
        self.not_compared.append(NotCompared(why=why, phase=phase, executions=executions, kernels=kernels))

    def unnamed(self, kernels: Int64) -> npt.NDArray[np.bool_]:
        """Return which kernels are directly under their phase."""
        return self._is_unnamed[self.table.key[kernels]]

    @cached_property
    def _is_unnamed(self) -> npt.NDArray[np.bool_]:
        """Whether each key is that of a phase itself."""
        return np.array([not key.module for key in self.table.keys], dtype=np.bool_)

    def add(self, excerpt: Excerpt, by_role: bool) -> None:
        """Add an excerpt; where wanted, those of its kernels that are in no module role by role."""
        if not by_role:
            self.excerpts.append(excerpt)
            return
        unnamed = self.unnamed(excerpt.kernels)
        if not unnamed.all():
            self.excerpts.append(replace(excerpt, kernels=excerpt.kernels[~unnamed]))
        self.add_by_role(excerpt.phase, excerpt.kernels[unnamed])

    def add_by_role(self, phase: str | None, kernels: Int64) -> None:
        """Add kernels that are in no module, role by role: bounded lists of what computes, and of the rest."""
        place = {role: number for number, role in enumerate(_ROLES)} | {"splitk_reduce": 0}
        code = np.array([place.get(each.role, len(_ROLES) - 1) for each in self.table.parsed], dtype=np.int64)
        code = code[self.table.name[kernels]]
        left = 0
        for number, role in enumerate(_ROLES):
            mine = kernels[code == number]
            if len(mine):
                self.excerpts.append(Excerpt(phase=phase, kernels=mine[:MOST_UNNAMED], module=role))
            left += max(len(mine) - MOST_UNNAMED, 0)
        if left:
            self.leave_out(LeftOut.OUTSIDE, phase, 0, left)

    def keep_only(self, phase: str, wanted: Callable[[str | None], bool]) -> None:
        """Leave out those kinds of a phase's executions whose name is not wanted."""
        kept, self.excerpts = self.excerpts, []
        for excerpt in kept:
            if excerpt.phase is None or wanted(excerpt.phase) or not excerpt.phase.startswith(f"{phase}["):
                self.excerpts.append(excerpt)
            else:
                self.leave_out(LeftOut.NOT_ASKED_FOR, excerpt.phase, 1, len(excerpt.kernels))
        left = {excerpt.phase for excerpt in kept} - {excerpt.phase for excerpt in self.excerpts}
        self.executions = [each for each in self.executions if each.phase not in left]

    def done(self) -> Selection:
        """Return the selection; of many notes the first, and how many more there are."""
        more = len(self.notes) - _MOST_NOTES
        notes = [*self.notes[:_MOST_NOTES], f"{more:,} more phases ran several times"] if more > 1 else self.notes
        return Selection(
            excerpts=tuple(self.excerpts),
            notes=tuple(notes),
            executions=tuple(self.executions),
            not_compared=tuple(self.not_compared),
        )
