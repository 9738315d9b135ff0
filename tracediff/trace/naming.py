"""Range texts as names: the same range must read alike in two traces, whatever varies in its text by run or shape.

| written by | text | name |
| --- | --- | --- |
| PyTorch `emit_nvtx` | `aten::mm, seq = 12, sizes = [[6, 4096], …], op_id = 7` | `aten::mm` |
| vLLM, SGLang (layer-wise hooks) | `{'Module': 'model.layers.0.mlp', 'Inputs': …}` | `model.layers.0.mlp` |
| PyTorch's profiler | `ProfilerStep#12` | `ProfilerStep#` |
| vLLM | `execute_context_1(120)_generation_0(0)` | `execute_context_#(#)_generation_0(0)` |
| TensorRT-LLM | `_forward_step 12: 0 ctx reqs, 4 gen reqs` | `_forward_step #: 0 ctx reqs, # gen reqs` |
| torch.compile | `## Call CompiledFxGraph fbq3w5s7a2… ##` | `## Call CompiledFxGraph 0 ##` |
| anyone | `prefill b1`, `decode step=17`, `batch_size 8`, `buffer 0x7f00dead0000` | `prefill b#`, … |

Numbers that tell modules apart (`model.layers.5`, `layers[3]`, `decode[0]`, `replay 2`) stay, and so does a count of
zero: a step without prompts is another thing than one with some. Where two or three texts of one trace would become one
name only because of their batch or token counts, they keep them: there they are two things; more are one thing of many
sizes. Compiled graphs are named by a hash of their code, so they are numbered in the order in which a phase calls them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.text import count, shorten
from tracediff.trace.table import RangeKey

_EMIT_NVTX = re.compile(r", (?:seq|seq_ids|op_id|sizes|input_op_ids|stashed seq) = .*", re.DOTALL)
_MODULE_IN_DICT = re.compile(r"""\{\s*['"][Mm]odule['"]\s*:\s*['"]([^'"]*)['"]""")
_DIGIT = re.compile(r"\d")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")
#: Numbers that count repeats of one thing.
_REPEAT = re.compile(
    r"(ProfilerStep|\b(?:step|iteration|iter|micro[-_ ]?batch|request|req|epoch|chunk)s?"
    r"(?:[-_ ]?(?:id|idx|index|no|num))?[ =:_-]{0,3}|_step )#?\d+",
    re.IGNORECASE,
)
#: Numbers that say how much was computed at once.
_AMOUNT = re.compile(
    r"(?P<sized>\b(?:(?:b|bs|bsz|batch|batch[-_ ]?size|tokens|shape|"
    r"(?:num|n|total)[-_ ]?(?:tokens|reqs|requests|seqs|prompts|blocks)|"
    r"(?:(?:max|min)[-_ ]?)?(?:seq|ctx|context|query|q|kv|cache|prompt)[-_ ]?(?:len|length)s?)[ =:_-]{0,2}"
    r"|(?:seqs?|ctx|context|query|q|kv|cache|prompt|reqs|requests) ?[=:] ?))\d+\b"
    r"|(?P<counted>(?:context|generation)_)(?P<requests>\d+)\((?P<tokens>\d+)\)"
    r"|\b(?P<many>\d+)(?= (?:ctx|gen|context|generation|prefill|decode)? ?(?:reqs?|requests?|tokens?|seqs?)\b)"
    r"|(?P<list>\[\s*\d+(?:\s*,\s*\d+)+\s*\])|\b(?P<product>\d+(?:x\d+)+)\b",
    re.IGNORECASE,
)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
#: Digests and random ids: UUIDs, hexadecimal, or base 32 (as Inductor writes them), with both letters and digits.
_HASH = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_UUID}|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{{16,}}|(?=[a-z]*[2-7])[a-z2-7]{{32,}})(?![0-9A-Za-z])",
    re.IGNORECASE,
)
#: What is compiled is told apart by its place; a request or a session is one of many.
_COMPILED = re.compile(r"graph|compiled|inductor", re.IGNORECASE)
#: Up to so many texts that differ only in amounts are different things.
_FEW = 3
#: What PyTorch's emit_nvtx names its ranges: operators, in namespaces of torch and of libraries that add some, and the
#: nodes of autograd's graph. Other names with `::` are functions of C++ programs, which say where they are.
_OPERATOR = re.compile(
    r"(?:aten|prims?|c10d?|torch\w*|quantized|_\w+|inductor|triton|vllm|sgl_\w+|xformers|flash_attn\w*)::[\w:.]+"
    r"|autograd::engine::.*|\w+Backward\d*"
)
_LONGEST_PATTERN = 1000
_EXAMPLES = 3


class Naming(Struct, frozen=True, kw_only=True):
    """What a user says of the ranges in a trace: regular expressions, searched for in the texts.

    Attributes:
        range: Only ranges whose text matches count; the first group, if there is one, is the name.
        phase: Ranges that match are the phases, wherever they nest; the first group, if any, is the phase's name.
        layer: The first group in a module's name is its layer.
    """

    range: str | None = None
    phase: str | None = None
    layer: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The options given that choose which ranges count, and as what."""
        given = (("--range", self.range), ("--phase-range", self.phase))
        return tuple(option for option, pattern in given if pattern is not None)


class Names(Struct, frozen=True, kw_only=True):
    """The names of a trace's range texts.

    Attributes:
        of_text: Name of each text, None for a range that does not count.
        phases: Names that are phases because the user said so.
        layer: The user's pattern for layers.
        notes: What was changed, in a sentence.
        unmatched: The user's patterns that match no range, as `--range 'text'`; none where there are no ranges.
    """

    of_text: list[str | None]
    phases: frozenset[str]
    layer: re.Pattern[str] | None
    notes: list[str]
    unmatched: tuple[str, ...] = ()


def name_ranges(texts: tuple[str, ...], is_range: list[bool], naming: Naming) -> Names:
    """Name range texts.

    Args:
        texts: Distinct texts of ranges and other events.
        is_range: Which of them ranges have; the others keep theirs.
        naming: What the user says of them.

    Raises:
        TracediffError: A pattern is not a valid regular expression.
    """
    range_pattern, phase_pattern = _compiled("--range", naming.range), _compiled("--phase-range", naming.phase)
    layer_pattern = _compiled("--layer", naming.layer)
    if layer_pattern is not None and not layer_pattern.groups:
        raise TracediffError(f"--layer {naming.layer!r} has no group", "put parentheses around the number: layer(\\d+)")
    plain = _plain_names(texts, is_range)
    distinct = dict.fromkeys(name for name, used in zip(plain, is_range, strict=True) if used)
    short_of = {name: _without_amounts(name) for name in distinct}
    shared: dict[str, set[str]] = {}
    for name, short in short_of.items():
        shared.setdefault(short, set()).add(name)
    names: list[str | None] = []
    phases: set[str] = set()
    for text, name, used in zip(texts, plain, is_range, strict=True):
        if not used:
            names.append(text)
            continue
        short = short_of[name]
        chosen: str | None = name if 1 < len(shared[short]) <= _FEW else short
        phase = phase_pattern.search(text) if phase_pattern is not None else None
        if phase is not None:
            chosen = _group(phase) or chosen
            phases.add(chosen or "")
        elif range_pattern is not None:
            found = range_pattern.search(text)
            chosen = (_group(found) or chosen) if found is not None else None
        names.append(chosen)
    patterns = (("--range", range_pattern), ("--phase-range", phase_pattern))
    return Names(
        of_text=names,
        phases=frozenset(phases),
        layer=layer_pattern,
        notes=_notes(texts, names),
        unmatched=tuple(
            f"{option} {pattern.pattern!r}"
            for option, pattern in patterns
            if pattern is not None and any(is_range) and not _matches_any(pattern, texts, is_range)
        ),
    )


def _matches_any(pattern: re.Pattern[str], texts: tuple[str, ...], is_range: list[bool]) -> bool:
    return any(used and pattern.search(text) is not None for text, used in zip(texts, is_range, strict=True))


def _plain_names(texts: tuple[str, ...], is_range: list[bool]) -> list[str]:
    """Return the texts of ranges without what counts their repeats; texts that say the same are looked at once."""
    known: dict[str, str] = {}
    names = []
    for text, used in zip(texts, is_range, strict=True):
        if not used:
            names.append(text)
            continue
        module = _MODULE_IN_DICT.match(text) if text.startswith("{") else None
        if module is not None:
            names.append(module.group(1))
            continue
        end = _EMIT_NVTX.search(text) if " = " in text else None
        head = text if end is None else text[: end.start()]
        name = known.get(head)
        if name is None:
            name = known[head] = _without_repeats(head)
        names.append(name)
    return names


@lru_cache(maxsize=1 << 14)  # the two traces of a diff have the same ranges
def _without_repeats(text: str) -> str:
    if _DIGIT.search(text) is None:
        return text
    if _COMPILED.search(text) is None:
        text = _HASH.sub("#", text)
    return _REPEAT.sub(r"\1#", _ADDRESS.sub("0x#", text))


@lru_cache(maxsize=1 << 14)
def _without_amounts(name: str) -> str:
    if _DIGIT.search(name) is None:
        return name
    return _AMOUNT.sub(_without_amount, name)


def _without_amount(found: re.Match[str]) -> str:
    if found["sized"]:
        return f"{found['sized']}#"
    if found["counted"]:
        return f"{found['counted']}{_some(found['requests'])}({_some(found['tokens'])})"
    if found["many"]:
        return _some(found["many"])
    return "[#]" if found["list"] else "#"


def _some(count: str) -> str:
    return "#" if count.strip("0") else "0"


def _notes(texts: tuple[str, ...], names: list[str | None]) -> list[str]:
    changed = {name: text for text, name in zip(texts, names, strict=True) if name is not None and name != text}
    dropped = sum(name is None for name in names)
    notes = [f"left out, as they do not match --range: {count(dropped, 'range text')}"] if dropped else []
    if changed:
        pairs = [f"{shorten(text, 40)} → {shorten(name, 40)}" for name, text in list(changed.items())[:_EXAMPLES]]
        more = f" and {len(changed) - _EXAMPLES:,} more" if len(changed) > _EXAMPLES else ""
        notes.append(f"range texts read as names: {', '.join(pairs)}{more}")
    return notes


def number_by_place(keys: tuple[RangeKey, ...]) -> tuple[RangeKey, ...]:
    """Replace the hashes of compiled graphs by numbers: of phases in the trace, of modules in their phase.

    Args:
        keys: In order of first launch.
    """
    if not any(map(_is_hashed, {key.phase or "" for key in keys} | {key.module for key in keys})):
        return keys
    known: dict[tuple[str | None, str], dict[str, int]] = {}

    def numbered(text: str, phase: str | None) -> str:
        if not _is_hashed(text):
            return text
        graphs = known.setdefault((phase, _HASH.sub("#", text)), {})
        return _HASH.sub(str(graphs.setdefault(text, len(graphs))), text)

    return tuple(
        replace(
            key,
            phase=None if key.phase is None else numbered(key.phase, None),
            module=numbered(key.module, key.phase),
        )
        for key in keys
    )


@lru_cache(maxsize=1 << 14)
def _is_hashed(text: str) -> bool:
    return _COMPILED.search(text) is not None and _HASH.search(text) is not None


def is_operator(name: str) -> bool:
    """Return whether a range is an operator's (`aten::mm`, `MmBackward0`): it says what was called, not by whom."""
    return _OPERATOR.fullmatch(name) is not None


def asked_for(text: str, naming: Naming) -> bool:
    """Return whether a pattern of the user's matches a range's text.

    Raises:
        TracediffError: A pattern is not a valid regular expression.
    """
    patterns = (_compiled("--range", naming.range), _compiled("--phase-range", naming.phase))
    return any(pattern is not None and pattern.search(text) is not None for pattern in patterns)


def _compiled(option: str, pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    if len(pattern) > _LONGEST_PATTERN:
        raise TracediffError(f"{option} is longer than {_LONGEST_PATTERN} characters", "shorten it")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise TracediffError(f"{option} {pattern!r} is not a valid regular expression ({error})", "check it") from None


def _group(found: re.Match[str]) -> str | None:
    return next((group for group in found.groups() if group), None)
