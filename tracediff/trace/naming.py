"""Range texts as names: the same range in two traces must read alike, whatever numbers its text carries.

| written by | text | name |
| --- | --- | --- |
| PyTorch `emit_nvtx` | `aten::mm, seq = 12, sizes = [[6, 4096], …], op_id = 7` | `aten::mm` |
| vLLM, SGLang (layer-wise hooks) | `{'Module': 'model.layers.0.mlp', 'Inputs': …}` | `model.layers.0.mlp` |
| PyTorch's profiler | `ProfilerStep#12` | `ProfilerStep#` |
| vLLM | `execute_context_1(120)_generation_3(3)` | `execute_context_#(#)_generation_#(#)` |
| TensorRT-LLM | `[Executor] _forward_step 12: 0 ctx reqs` | `[Executor] _forward_step #: # ctx reqs` |
| anyone | `prefill b1`, `decode step=17`, `batch_size 8`, `buffer 0x7f00dead0000` | `prefill b#`, … |

Numbers that tell modules apart (`model.layers.5`, `layers[3]`, `decode[0]`, `replay 2`) stay. Where two texts of one
trace would become one name only because of their batch or token counts, they keep them: there they are two things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracediff.errors import TracediffError
from tracediff.text import shorten

_EMIT_NVTX = re.compile(r", (?:seq|seq_ids|op_id|sizes|input_op_ids|stashed seq) = .*", re.DOTALL)
_MODULE_IN_DICT = re.compile(r"""\{\s*['"][Mm]odule['"]\s*:\s*['"]([^'"]*)['"]""")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")
#: Numbers that count repeats of one thing.
_REPEAT = re.compile(
    r"(ProfilerStep|\b(?:step|iteration|iter|micro[-_ ]?batch|request|req|epoch|chunk)s?"
    r"(?:[-_ ]?(?:id|idx|index|no|num))?[ =:_-]{0,3}|_step )#?\d+",
    re.IGNORECASE,
)
#: Numbers that say how much was computed at once.
_AMOUNT = re.compile(
    r"(\b(?:b|bs|bsz|batch|batch[-_ ]?size|num[-_ ]?(?:tokens|reqs|seqs)|tokens|(?:seq|ctx)[-_ ]?len)[ =:_-]{0,2})\d+\b"
    r"|((?<=context_)|(?<=generation_)|(?<=context_#\()|(?<=generation_#\())\d+"
    r"|\b\d+(?= (?:ctx|gen|context|generation)? ?(?:reqs|requests|tokens|seqs)\b)",
    re.IGNORECASE,
)
_LONGEST_PATTERN = 1000
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a user says of the ranges in a trace: regular expressions, searched for in the texts.

    Attributes:
        range: Only ranges whose text matches count; the first group, if there is one, is the name.
        phase: Ranges that match are the phases, wherever they nest; the first group, if any, is the phase's name.
        layer: The first group in a module's name is its layer.
    """

    range: str | None = None
    phase: str | None = None
    layer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of a trace's range texts.

    Attributes:
        of_text: Name of each text, None for a range that does not count.
        phases: Names that are phases because the user said so.
        layer: The user's pattern for layers.
        notes: What was changed, in a sentence.
    """

    of_text: list[str | None]
    phases: frozenset[str]
    layer: re.Pattern[str] | None
    notes: list[str]


def name_ranges(texts: tuple[str, ...], is_range: list[bool], naming: Naming) -> Names:
    """Name range texts.

    Args:
        texts: Distinct texts of ranges and other events.
        is_range: Which of them ranges have; the others keep theirs.
        naming: What the user says of them.

    Raises:
        TracediffError: A pattern of the user's is no regular expression.
    """
    range_pattern, phase_pattern = _compiled("--range", naming.range), _compiled("--phase-range", naming.phase)
    layer_pattern = _compiled("--layer", naming.layer)
    if layer_pattern is not None and not layer_pattern.groups:
        raise TracediffError(f"--layer {naming.layer!r} has no group", "put parentheses around the number: layer(\\d+)")
    plain = [_without_repeats(text) if used else text for text, used in zip(texts, is_range, strict=True)]
    shared: dict[str, set[str]] = {}
    for name, used in zip(plain, is_range, strict=True):
        if used:
            shared.setdefault(_without_amounts(name), set()).add(name)
    names: list[str | None] = []
    phases: set[str] = set()
    for text, name, used in zip(texts, plain, is_range, strict=True):
        if not used:
            names.append(text)
            continue
        short = _without_amounts(name)
        chosen: str | None = short if len(shared[short]) == 1 else name
        phase = phase_pattern.search(text) if phase_pattern is not None else None
        if phase is not None:
            chosen = _group(phase) or chosen
            phases.add(chosen or "")
        elif range_pattern is not None:
            found = range_pattern.search(text)
            chosen = (_group(found) or chosen) if found is not None else None
        names.append(chosen)
    return Names(of_text=names, phases=frozenset(phases), layer=layer_pattern, notes=_notes(texts, names))


def _without_repeats(text: str) -> str:
    module = _MODULE_IN_DICT.match(text)
    if module is not None:
        return module.group(1)
    text = _EMIT_NVTX.sub("", text) if " = " in text else text
    if not any(character.isdecimal() for character in text):
        return text
    return _REPEAT.sub(r"\1#", _ADDRESS.sub("0x#", text))


def _without_amounts(name: str) -> str:
    # Twice: `generation_#(` must be there before the number in its parentheses is known.
    for _ in range(2):
        name = _AMOUNT.sub(lambda found: f"{found.group(1) or ''}#", name)
    return name


def _notes(texts: tuple[str, ...], names: list[str | None]) -> list[str]:
    changed = {text: name for text, name in zip(texts, names, strict=True) if name is not None and name != text}
    dropped = sum(name is None for name in names)
    notes = [f"{dropped:,} range texts do not match --range and were left out"] if dropped else []
    if changed:
        pairs = [f"{shorten(text, 40)} → {shorten(name, 40)}" for text, name in list(changed.items())[:_EXAMPLES]]
        more = f" and {len(changed) - _EXAMPLES:,} more" if len(changed) > _EXAMPLES else ""
        notes.append(f"range texts read as names: {', '.join(pairs)}{more}")
    return notes


def _compiled(option: str, pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    if len(pattern) > _LONGEST_PATTERN:
        raise TracediffError(f"{option} is longer than {_LONGEST_PATTERN} characters", "shorten it")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise TracediffError(f"{option} {pattern!r} is no regular expression ({error})", "check it") from None


def _group(found: re.Match[str]) -> str | None:
    return next((group for group in found.groups() if group), None)
