"""The evidence of a capture as typed values: bits per module and phase, logits, tokens, repair, controls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

#: The controls: each repeats the same work and changes only what must not matter. In the order in which they are read:
#: what varies from run to run confounds the others. The gravest finding is that of `neighbours` (`diff.judgement`).
CONTROLS = ("run_to_run", "neighbours", "position", "profiler")


class ControlResult(StrEnum):
    """What a control found."""

    EQUAL = "equal"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"


class State(StrEnum):
    """What a module does to bits."""

    CLEAN = "clean"
    """Equal inputs give equal bits, and the run's bits are equal too."""
    ORIGIN = "origin"
    """Equal inputs give different bits: a difference begins here."""
    PROPAGATED = "propagated"
    """Equal inputs give equal bits, or were not replayed; the run's bits differ."""
    UNSTABLE = "unstable"
    """Its own bits vary from run to run on equal inputs at one batch size, so nothing follows from a difference."""


class Bits(Struct, frozen=True, kw_only=True):
    """How two tensors of one shape and type compare.

    Attributes:
        equal: Whether every element has the same bits; −0 and +0 differ, a NaN equals a NaN of the same bits.
        share: Differing elements ÷ elements, 0 to 1.
        max_ulp: Largest distance in units of the last place of their type: how many representable numbers one is away
            from the other (0 between −0 and +0). None where a NaN meets a number, and for other than floats.
    """

    equal: bool
    share: float = 0.0
    max_ulp: int | None = 0


class Unstable(Struct, frozen=True, kw_only=True):
    """A module whose own bits vary on equal inputs at one batch size.

    Attributes:
        phase, module, batch: Where.
        outcomes: How many different outputs were seen.
        repeats: In how many runs.
        kernels: Names of the kernels that sum in it, where a trace names them.
    """

    phase: str
    module: str
    batch: int
    outcomes: int
    repeats: int
    kernels: tuple[str, ...] = ()


class ModuleBits(Struct, frozen=True, kw_only=True):
    """One module in one phase, row 0 at two batch sizes.

    Attributes:
        isolated: Its outputs on equal inputs; None where it could not be replayed, or where they vary by themselves.
        propagated: Its outputs in the run, each batch size with its own inputs; None where not compared.
        unstable: How they vary by themselves at either batch size, the worse of the two; None where they do not.
    """

    isolated: Bits | None
    propagated: Bits | None
    unstable: Unstable | None = None

    @property
    def state(self) -> State | None:
        """What the module does to bits; None where that was not measured."""
        if self.unstable is not None:
            return State.UNSTABLE
        if self.isolated is not None and not self.isolated.equal:
            return State.ORIGIN
        if self.propagated is not None and not self.propagated.equal:
            return State.PROPAGATED
        return State.CLEAN if self.isolated is not None else None


class Repair(Struct, frozen=True, kw_only=True):
    """What makes the logits bit-identical to batch 1.

    Attributes:
        minimal: Kinds of modules (`q_proj`) to compute row by row, none of which can be left out; empty where even all
            of them do not suffice.
        logits_equal: Whether computing them row by row makes the logits bit-identical.
        complement_logits_equal: Whether computing all other kinds row by row does; None where that was not tried.
        tried: Forwards that the search took.
    """

    minimal: tuple[str, ...]
    logits_equal: bool
    complement_logits_equal: bool | None
    tried: int


class Control(Struct, frozen=True, kw_only=True):
    """One control.

    Attributes:
        equal: Whether bits are equal: False only where different bits came in every repeat and nothing that varies by
            itself can explain them; None where that cannot be told.
        compared: What was compared, in words.
        why: Why it cannot be told, in words; None where it can.
        first: Where bits first differed: a phase, and the module where that is known; None where they did not.
        share: Largest share of differing logits in a comparison, 0 to 1.
        max_ulp: Largest difference of a logit in ULP; None where unknown.
        held_out: Modules, counted per phase and batch size, that vary by themselves and were left out.
    """

    equal: bool | None
    compared: str
    why: str | None = None
    first: str | None = None
    share: float = 0.0
    max_ulp: int | None = 0
    held_out: int = 0

    @property
    def answer(self) -> ControlResult:
        """`equal` in words."""
        return {True: ControlResult.EQUAL, False: ControlResult.DIFFERS, None: ControlResult.CANNOT_TELL}[self.equal]


class LogitsMove(Struct, frozen=True, kw_only=True):
    """How far row 0's logits of one phase moved between two batch sizes, beside what a token needs to flip.

    None where a value is not finite.

    Attributes:
        max_abs: Largest |difference| of a logit, over all positions.
        scale: Largest |logit| at the first batch size, over all positions.
        margins: Top-1 minus top-2 logit at the last position, at either batch size.
        top_changes: |change of the top-1 logit| + |change of the top-2 logit| at the last position, for the top two of
            either batch size. A token can flip only where its margin is no larger.
    """

    max_abs: float | None
    scale: float | None
    margins: tuple[float | None, float | None]
    top_changes: tuple[float | None, float | None]

    @property
    def covers_margins(self) -> bool | None:
        """Whether the top two moved by no less than what lay between them, on either side; None where not known.

        Where the largest of two logits changed places they did, so this makes no flip a near tie: see `near_ties`.
        """
        pairs = list(zip(self.margins, self.top_changes, strict=True))
        if any(margin is None or change is None for margin, change in pairs):
            return None
        return all(margin <= change for margin, change in pairs if margin is not None and change is not None)

    def swapped(self) -> LogitsMove:
        """Return the same for the two batch sizes in the other order."""
        return replace(self, margins=self.margins[::-1], top_changes=self.top_changes[::-1])


class PairEvidence(Struct, frozen=True, kw_only=True):
    """Two batch sizes compared, row 0.

    Attributes:
        batches: The two batch sizes.
        logits: Bits of all positions' logits, by phase; None where not measured.
        tokens: Greedy choice at the last position at either batch size, by phase.
        modules: By phase and module path.
        first_origin: Phase and module that first made a difference; unstable modules are none.
        repair: Sought with unstable modules pinned to what they put out at the first batch size; None where none was
            needed or sought.
        moves: How far the logits moved, by phase; empty in older files.
        pinned_logits: Bits of the logits with unstable modules pinned, by phase: equal where noise alone explains
            `logits`; empty where nothing is unstable.
    """

    batches: tuple[int, int]
    logits: Mapping[str, Bits | None]
    tokens: Mapping[str, tuple[int, int]]
    modules: Mapping[str, Mapping[str, ModuleBits]]
    first_origin: tuple[str, str] | None
    repair: Repair | None
    moves: Mapping[str, LogitsMove] = field(default_factory=dict)
    pinned_logits: Mapping[str, Bits | None] = field(default_factory=dict)

    @property
    def origins(self) -> int:
        """How many modules, counted per phase, gave different bits on equal inputs."""
        found = (each.state for measured in self.modules.values() for each in measured.values())
        return sum(state is State.ORIGIN for state in found)

    def module(self, phases: Sequence[str], module: str) -> ModuleBits | None:
        """Return what was measured of one module: in one phase, or in all of several steps together."""
        measured = [self.modules.get(phase, {}).get(module) for phase in phases]
        known = [each for each in measured if each is not None]
        if len(measured) == 1 or not known:
            return measured[0] if measured else None
        return ModuleBits(
            isolated=_together([None if each is None else each.isolated for each in measured]),
            propagated=_together([None if each is None else each.propagated for each in measured]),
            unstable=max((each.unstable for each in known if each.unstable is not None), key=_outcomes, default=None),
        )


class RunEvidence(Struct, frozen=True, kw_only=True):
    """What was measured of two batch sizes as whole runs: all but the modules.

    Attributes:
        batches: The batch sizes, in the order in which they are compared.
        logits, tokens, first_origin, repair, moves, pinned_logits: As in `PairEvidence`, in the order of `batches`.
        notes, controls, attention, repeats, steady_attentions: As in `Evidence`.
        origins: How many modules, counted per phase, gave different bits on equal inputs.
        unstable: Modules whose own bits vary at one of the two batch sizes.
    """

    batches: tuple[int, int]
    logits: Mapping[str, Bits | None] = field(default_factory=dict)
    tokens: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    first_origin: tuple[str, str] | None = None
    repair: Repair | None = None
    notes: tuple[str, ...] = ()
    controls: Mapping[str, Control] = field(default_factory=dict)
    moves: Mapping[str, LogitsMove] = field(default_factory=dict)
    pinned_logits: Mapping[str, Bits | None] = field(default_factory=dict)
    origins: int = 0
    unstable: tuple[Unstable, ...] = ()
    attention: str | None = None
    repeats: int | None = None
    steady_attentions: tuple[str, ...] | None = None


class Evidence(Struct, frozen=True, kw_only=True):
    """What was measured of one model.

    Attributes:
        model, dtype: Of what it was measured, as the traces' manifest names them.
        tokens: Length of the prompt.
        batches: Batch sizes, 1 first.
        phases: Their names, in the order of the run.
        pairs: Batch 1 against each other batch size.
        notes: What could not be measured, one sentence each.
        controls: By name; `CONTROLS` lists the known ones.
        seconds: How long measuring took; None where the file does not say.
        attention: How attention was computed (`sdpa`, `flash`, …); None in older files.
        repeats: How often each module was given equal inputs; None in older files, where noise was not measured.
        unstable: Modules whose own bits vary on equal inputs.
        steady_attentions: The attentions with which the same run gave equal logits in every repeat; None where none was
            tried (nothing is unstable, or the model cannot change its attention).
        weights: `random`, `real`, …; None in older files.
        gpu: What it was measured on; None without a GPU and in older files.
        traces: SHA-256 of the trace of each batch size that it belongs to; empty in older files.
    """

    model: str
    dtype: str
    tokens: int
    batches: tuple[int, ...]
    phases: tuple[str, ...]
    pairs: tuple[PairEvidence, ...]
    notes: tuple[str, ...]
    controls: Mapping[str, Control]
    seconds: float | None = None
    attention: str | None = None
    repeats: int | None = None
    unstable: tuple[Unstable, ...] = ()
    steady_attentions: tuple[str, ...] | None = None
    weights: str | None = None
    gpu: str | None = None
    traces: Mapping[int, str] = field(default_factory=dict)

    def pair(self, a: int | None, b: int | None) -> PairEvidence | None:
        """Return the comparison of two batch sizes, given in either order."""
        return next((pair for pair in self.pairs if set(pair.batches) == {a, b}), None)

    def run(self, pair: PairEvidence, first_batch: int | None) -> RunEvidence:
        """Return what was measured of a pair's runs, in the order that begins with `first_batch`."""
        swapped = pair.batches[0] != first_batch
        return RunEvidence(
            batches=pair.batches[::-1] if swapped else pair.batches,
            logits=pair.logits,
            tokens={phase: chosen[::-1] if swapped else chosen for phase, chosen in pair.tokens.items()},
            first_origin=pair.first_origin,
            repair=pair.repair,
            notes=self.notes,
            controls=self.controls,
            moves={phase: move.swapped() if swapped else move for phase, move in pair.moves.items()},
            pinned_logits=pair.pinned_logits,
            origins=pair.origins,
            unstable=tuple(each for each in self.unstable if each.batch in pair.batches),
            attention=self.attention,
            repeats=self.repeats,
            steady_attentions=self.steady_attentions,
        )


def _together(measured: Sequence[Bits | None]) -> Bits | None:
    """Return how tensors of several steps compare together: equal only where all were compared and are."""
    known = [bits for bits in measured if bits is not None]
    equal = all(bits.equal for bits in known)
    if not known or (equal and len(known) < len(measured)):
        return None
    distances = [bits.max_ulp for bits in known]
    return Bits(
        equal=equal,
        share=max(bits.share for bits in known),
        max_ulp=None if None in distances else max(each for each in distances if each is not None),
    )


def worst_by_place(unstable: Iterable[Unstable], batches: Collection[int]) -> dict[tuple[str, str], Unstable]:
    """Return each unstable (phase, module) at the one of some batch sizes where it gave the most outcomes."""
    return {(each.phase, each.module): each for each in sorted(unstable, key=_outcomes) if each.batch in batches}


def _outcomes(unstable: Unstable) -> int:
    return unstable.outcomes
