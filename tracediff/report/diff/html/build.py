"""From a diff to everything the page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tracediff.diff.answer import Answer, answer
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.overview import Section, overview
from tracediff.diff.places import kind_names, module_name, phase_name
from tracediff.diff.result import Row, Side, TraceDiff, Verdict
from tracediff.diff.standing import Standing, standing
from tracediff.report.diff.answer_words import facts, section_words
from tracediff.report.diff.html.chain import chain, splitk_sentence
from tracediff.report.diff.html.figure import figure
from tracediff.report.diff.html.groups import group_rows, heat_rows, sign_view, totals
from tracediff.report.diff.html.places import anchor
from tracediff.report.diff.html.run_evidence import view_run
from tracediff.report.diff.html.view import GroupView, PageView, Phase, Sign, SourceView
from tracediff.report.diff.markdown import diff_to_markdown
from tracediff.report.diff.spread import Spread, equal_parts
from tracediff.report.diff.subject import side_words, subject_words
from tracediff.report.diff.view import View
from tracediff.report.words import coverage_words
from tracediff.text import printable
from tracediff.version import __version__

_SHOWN_CONTRADICTIONS = 20
#: Modules that the page lists, about a kilobyte each; traces whose executions all differ have hundreds of thousands.
_MOST_LISTED = 20_000


def build_report(diff: TraceDiff, modules: ChosenModules | None = None) -> PageView:
    """Return what the page shows of `diff`; where modules are named, lists and totals of these alone."""
    shown = diff.rows if modules is None else modules.rows(diff.rows)
    spread = Spread.of(diff.rows)
    labels = {kind: module_name(name) for kind, name in kind_names(diff.rows).items()}
    row_phases = _by_phase(shown)
    phases: list[Phase] = []
    signatures: dict[Any, str] = {}
    left = _MOST_LISTED
    for rows in sorted(row_phases.values(), key=_comes_late):
        phase = _phase(rows, rows[:left], labels, signatures, spread)
        signatures.setdefault(_signature(phase.groups), phase.name)
        phases.append(phase)
        left -= min(left, len(rows))
    sides = side_words(diff.a, diff.b)
    found = answer(diff)
    return PageView(
        title=f"tracediff: {sides[0]} → {sides[1]}",
        side_names=sides,
        subject=subject_words(diff),
        judgement=str(found.judgement),
        headline=printable(found.headline[0].upper() + found.headline[1:]),
        lead=_lead(found),
        facts=facts(found),
        warnings=tuple(map(printable, diff.warnings)),
        contradictions=_contradictions(phases, sum(row.contradicted for row in shown)),
        chain=chain(found, diff),
        phases=tuple(phases),
        selection="" if modules is None else printable(modules.words(diff.rows)),
        totals=totals(shown),
        time_change=_time_change(shown, spread),
        verdicts=_verdicts(shown),
        legend=_legend(shown),
        figure=figure(found.sections if modules is None else overview(shown), spread),
        markdown=diff_to_markdown(diff, View(modules=modules)),
        sources=_sources(diff.a, diff.b),
        notes=(tuple(map(printable, diff.a.notes)), tuple(map(printable, diff.b.notes))),
        coverage=(coverage_words(diff.a), coverage_words(diff.b)),
        run=view_run(diff.evidence),
        measured=any(row.evidence for row in diff.rows),
        version=__version__,
    )


def _legend(rows: Sequence[Row]) -> tuple[tuple[Sign, int], ...]:
    counted = Counter((standing(row), row.bits_equal is not None) for row in rows)
    known = [(each, measured) for each in Standing for measured in (True, False) if counted[each, measured]]
    views: dict[Sign, int] = {}
    for each in known:
        view = sign_view(*each)
        views[view] = views.get(view, 0) + counted[each]
    return tuple(views.items())


def _phase(
    rows: Sequence[Row], listed: Sequence[Row], labels: dict[str, str], earlier: dict[Any, str], spread: Spread
) -> Phase:
    """Return a phase: all its rows added up, and those that the page lists."""
    name = phase_name(rows[0].phase)
    layers = tuple(sorted({row.layer for row in listed if row.layer is not None}))
    groups = group_rows(listed, labels, spread)
    heat, outside = heat_rows(listed, labels, layers)
    return Phase(
        anchor=anchor("phase", name),
        name=name,
        layers=layers,
        heat=heat,
        outside=outside,
        groups=groups,
        totals=totals(rows),
        summary=section_words(Section(name=rows[0].phase, rows=tuple(rows), groups=()))[1],
        verdicts=_verdicts(rows),
        time_change=_time_change(rows, spread),
        same_as=earlier.get(_signature(groups), ""),
    )


def _verdicts(rows: Sequence[Row]) -> dict[str, int]:
    counted = Counter(row.verdict for row in rows)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def _time_change(rows: Sequence[Row], spread: Spread) -> str:
    a, b = ([row.duration_ns[side] for row in rows] for side in (0, 1))
    return spread.change(sum(a), sum(b), min(equal_parts(a), equal_parts(b)))


def _comes_late(rows: Sequence[Row]) -> tuple[bool, bool]:
    """Phases that run no block (a range around everything, or none) come last: few ask for them."""
    return all(row.layer is None for row in rows), rows[0].phase is None


def _signature(groups: Sequence[GroupView]) -> Any:
    """What makes two phases the same: kernels and verdicts. Launch sizes grow with the cache, times vary."""
    return tuple(
        (
            group.kind,
            group.layers,
            group.verdict,
            group.reason,
            group.isolated,
            group.propagated,
            tuple((pair.a, pair.b, pair.verdict) for pair in group.pairs),
        )
        for group in groups
    )


def _lead(found: Answer) -> tuple[str, ...]:
    """What must be read beside the headline: the cause, and what the count of split-K reductions hides."""
    cause = f"{found.because}." if found.because else ""
    hidden = splitk_sentence(found.sections[0].rows) if found.sections else ""
    return tuple(printable(sentence) for sentence in (cause, hidden) if sentence)


def _by_phase(rows: Iterable[Row]) -> dict[str | None, list[Row]]:
    phases: dict[str | None, list[Row]] = {}
    for row in rows:
        phases.setdefault(row.phase, []).append(row)
    return phases


def _contradictions(phases: Sequence[Phase], number: int) -> tuple[str, ...]:
    found = [
        f"{phase.name} {module.module}: {module.contradiction}"
        for phase in phases
        for group in phase.groups
        for module in group.modules
        if module.contradiction
    ]
    shown = found[:_SHOWN_CONTRADICTIONS]
    rest = number - len(shown)
    return (*shown, *([f"… and {rest:,} more, marked below"] if rest > 0 else []))


_SOURCES = (
    ("Model", "model"),
    ("Element type", "dtype"),
    ("Batch", "batch"),
    ("Prompt tokens per row", "tokens"),
    ("Attention", "attention"),
    ("Weights", "weights"),
    ("Blocks", "layers"),
    ("Seed", "seed"),
    ("GPU", "gpu"),
    ("Multiprocessors", "sm_count"),
    ("Profiler", "profiler"),
    ("Profiler version", "profiler_version"),
    ("Export schema", "schema_version"),
)


def _sources(a: Side, b: Side) -> tuple[SourceView, ...]:
    def fact(label: str, value_a: Any, value_b: Any) -> SourceView:
        text_a, text_b = ("–" if value is None else printable(str(value)) for value in (value_a, value_b))
        return SourceView(label=label, a=text_a, b=text_b, changed=text_a != text_b)

    named = [fact("File", _file(a), _file(b))]
    named += [fact(label, getattr(a.info, name), getattr(b.info, name)) for label, name in _SOURCES]
    versions = dict.fromkeys([*a.info.versions, *b.info.versions])
    return (
        *named,
        *(fact(printable(name), a.info.versions.get(name), b.info.versions.get(name)) for name in versions),
        fact("Kernels compared", f"{a.kernels:,}", f"{b.kernels:,}"),
        fact("Kernels in the trace", f"{a.coverage.kernels:,}", f"{b.coverage.kernels:,}"),
    )


def _file(side: Side) -> str:
    """Return the file's name and its folder's: a whole path names its user."""
    return "/".join(Path(side.info.path).parts[-2:])
