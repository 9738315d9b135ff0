"""Everything the HTML report shows, as plain data: no markup here and none needed to check it.

Strings from a trace have passed `tracediff.text.printable`; numbers meant for people are already words (`5.12 µs`), so
that the page and its tests agree about rounding. Tuples `(a, b)` are the two traces in the order they were given.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracediff.measured import ModuleBits
from tracediff.report.diff.answer_words import Fact
from tracediff.report.diff.html.run_evidence import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePart:
    """A piece of a kernel's name.

    Attributes:
        text: The piece.
        marked: Whether the other side's name has something else here.
    """

    text: str
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelView:
    """One kernel of a pair.

    Attributes:
        short: A name that fits one line.
        parts: The full name; the pieces joined give it back.
        role: What the kernel does.
    """

    short: str
    parts: tuple[NamePart, ...]
    role: str

    @property
    def long(self) -> bool:
        """Whether the full name deserves a fold of its own."""
        return sum(len(part.text) for part in self.parts) > 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldView:
    """One field of two kernels.

    Attributes:
        section: `name`, `launch`, `cuBLASLt log` or `time`: where the value comes from.
        label: What it is.
        a, b: The values; empty where unknown or where the side has no kernel.
        changed: Whether they differ.
        change: The difference of two numbers in words, else empty.
    """

    section: str
    label: str
    a: str
    b: str
    changed: bool
    change: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairView:
    """Two aligned kernels.

    Attributes:
        number: Position among the module's pairs, from 1.
        a, b: The kernels; None where a side has no counterpart.
        verdict, reason: The prediction for this pair.
        fields: Every known field, the differing ones first.
    """

    number: int
    a: KernelView | None
    b: KernelView | None
    verdict: str
    reason: str
    fields: tuple[FieldView, ...]

    @property
    def unchanged(self) -> tuple[FieldView, ...]:
        """The fields that do not differ, without time."""
        return tuple(field for field in self.fields if not field.changed and field.section != "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Numbers that add up, each for (a, b)."""

    modules: int
    kernels: tuple[int, int]
    splitk_reduce: tuple[int, int]
    duration_ns: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleView:
    """One (phase, module): a row of the diff.

    Attributes:
        anchor: Its id in the page, the same for the same phase and module in every report.
        layer: Block index; None outside the blocks.
        module: Dotted path.
        duration_ns: GPU time (a, b).
        time: That in words: a, b, change.
        measured: Its bits, None without a measurement.
        isolated, propagated: The same in words, empty where not measured.
        contradiction: What the evidence says against the verdict, empty where nothing.
    """

    anchor: str
    layer: int | None
    module: str
    duration_ns: tuple[int, int]
    time: tuple[str, str, str]
    measured: ModuleBits | None
    isolated: str
    propagated: str
    contradiction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """Modules of one phase and one kind that run the same kernels in the same way: one line of the report.

    Attributes:
        anchor: Its id in the page.
        kind: The module's place in its block (`self_attn.q_proj`), or its path outside the blocks.
        layers: `layers 0–31`, `layer 5`, or empty outside the blocks.
        modules: The modules folded here, in layer order.
        verdict, reason: The prediction, equal for all of them.
        changed: Whether anything but time differs.
        one_sided: Whether a kernel has no counterpart.
        chain: Short names of the leading kernels (a, b); empty where a side has none.
        more_kernels: Further kernels not named in `chain`.
        pairs: The aligned kernels; times are the mean over the modules.
        totals: Over all modules of the group.
        time: GPU time of one module (mean): a, b, change.
        isolated, propagated: Bits over the group in words; empty without evidence.
        isolated_equal: None without evidence.
        contradictions: How many modules' evidence contradicts the verdict.
    """

    anchor: str
    kind: str
    layers: str
    modules: tuple[ModuleView, ...]
    verdict: str
    reason: str
    changed: bool
    one_sided: bool
    chain: tuple[str, str]
    more_kernels: int
    pairs: tuple[PairView, ...]
    totals: Totals
    time: tuple[str, str, str]
    isolated: str
    propagated: str
    isolated_equal: bool | None
    contradictions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """How the map draws what is known of a module's bits.

    Attributes:
        style: Name of its colours: `differs`, `measured-equal`, …
        glyph: One sign; colour says the same.
        words: What it means.
    """

    style: str
    glyph: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """One module in the heatmap.

    Attributes:
        anchor: The module it leads to.
        sign: What is known of its bits.
        label: All of it in words, for whoever does not see the cell.
    """

    anchor: str
    sign: Sign
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatRow:
    """One kind of module over the layers; a layer without it has None."""

    kind: str
    cells: tuple[HeatCell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of the run.

    Attributes:
        anchor: Its id in the page.
        name: Its name; `outside every range` for kernels without one.
        layers: Block indices, the heatmap's columns.
        heat: The heatmap's rows inside the blocks.
        outside: Its rows outside the blocks, one cell each.
        groups: The folded modules in the order of the run; of a very large diff, those that the page lists.
        totals: Over the phase.
        summary: The phase in words.
        verdicts: Rows per verdict, every verdict present.
        time_change: Change of the GPU time in words.
        same_as: Name of an earlier phase that runs the same kernels in the same way, else empty.
    """

    anchor: str
    name: str
    layers: tuple[int, ...]
    heat: tuple[HeatRow, ...]
    outside: tuple[HeatRow, ...]
    groups: tuple[GroupView, ...]
    totals: Totals
    summary: str
    verdicts: dict[str, int]
    time_change: str
    same_as: str

    @property
    def listed(self) -> int:
        """How many modules its groups hold."""
        return sum(len(group.modules) for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One link of the chain kernel → order → bits → logits → token.

    Attributes:
        title: The link.
        value: Its number or word.
        text: What that means.
        state: `changed`, `clear`, `open` (not known) or `missing` (not measured).
    """

    title: str
    value: str
    text: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """A line of the table of versions: label, both values, whether they differ."""

    label: str
    a: str
    b: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One kind of module in the figure.

    Attributes:
        name: The kind (`q_proj`).
        modules: How many there are.
        split_k: Split-K factors on both sides in words; empty without a GEMM.
        split_k_changed: Whether any module's factor differs.
        duration_ns: GPU time of all of them (a, b).
        width: Of the bars, in percent of the longest of the section.
        text: The times in words: a, b, change.
    """

    name: str
    modules: int
    split_k: str
    split_k_changed: bool
    duration_ns: tuple[int, int]
    width: tuple[float, float]
    text: tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSection:
    """The figure's part for phases of one name."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """The whole page.

    Attributes:
        title: For the browser's tab.
        side_names: Short names of the traces (`batch 1`, `batch 2`).
        subject: What was run, in one line.
        judgement: What the evidence amounts to.
        headline: The judgement and what came out, in one sentence.
        lead: What must be read beside it.
        facts: What is said under the answer: controls, chain, margin, what was left out, repair, what would settle it.
        warnings: Why the comparison may mislead.
        contradictions: Predictions that the evidence contradicts, one sentence each.
        chain: The links from kernel to token.
        phases: In the order of the run.
        selection: Which modules are listed, in words; empty where it is all.
        totals: Over everything that is listed.
        time_change: Change of the GPU time in words.
        verdicts: Rows per verdict, every verdict present.
        legend: The map's signs, worst first, each with how many modules bear it.
        figure: Split-K factors and times by kind of module.
        markdown: The result as Markdown, to copy.
        sources: Versions and conditions of both sides.
        notes: What the readers had to say, per side.
        coverage: What of each trace was attributed, in words.
        run: What was measured of the whole run, None without evidence.
        measured: Whether any module has evidence.
        version: Of tracediff.
    """

    title: str
    side_names: tuple[str, str]
    subject: str
    judgement: str
    headline: str
    lead: tuple[str, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    contradictions: tuple[str, ...]
    chain: tuple[Step, ...]
    phases: tuple[Phase, ...]
    selection: str
    totals: Totals
    time_change: str
    verdicts: dict[str, int]
    legend: tuple[tuple[Sign, int], ...]
    figure: tuple[FigureSection, ...]
    markdown: str
    sources: tuple[SourceView, ...]
    notes: tuple[tuple[str, ...], tuple[str, ...]]
    coverage: tuple[str, str]
    run: RunView | None
    measured: bool
    version: str

    @property
    def listed(self) -> tuple[Phase, ...]:
        """The phases of which the page lists modules."""
        return tuple(phase for phase in self.phases if phase.groups)

    @property
    def not_listed(self) -> int:
        """How many modules are only counted."""
        return self.totals.modules - sum(phase.listed for phase in self.phases)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of modules, in the order of the run."""
        return tuple(dict.fromkeys(group.kind for phase in self.phases for group in phase.groups))
