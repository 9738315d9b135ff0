"""What must hold for any text and for every grammar, checked on generated names."""

import importlib
import pkgutil
import re
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from name_renderers import RENDERERS, Case
from test_name_corpus import ROWS

import tracediff.kernels
from tracediff.kernels import KernelName, describe, differing_fields, explain, parse
from tracediff.kernels.registry import FAMILIES
from tracediff.kernels.spelling import spelled

MEANINGS = [file.MEANINGS for file in FAMILIES if hasattr(file, "MEANINGS")]
TOKENS = {family: rules for meanings in MEANINGS for family, rules in meanings.tokens.items()}

ROLES = {"gemm", "splitk_reduce", "attention", "elementwise", "reduction", "copy", "other"}
FORMS = {None, "none", "parallel", "serial", "stream-k", "split-kv", "stated"}
NAMES = [row["name"] for row in ROWS]


def value(kernel: KernelName, path: str) -> Any:
    """Return `tile`, `types.a` or `detail:knob` of a result."""
    if path.startswith("types."):
        return getattr(kernel.types, path[6:]) if kernel.types else None
    return kernel.detail(path[7:]) if path.startswith("detail:") else getattr(kernel, path)


@pytest.mark.parametrize("family", RENDERERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reading_what_a_grammar_wrote_gives_back_the_configuration(family: str, data: st.DataObject) -> None:
    case: Case = data.draw(RENDERERS[family])
    name, expected = case
    kernel = parse(name)
    assert {path: value(kernel, path) for path in expected} == expected


@pytest.mark.parametrize("family", [family for family in RENDERERS if family not in ("tensile", "triton", "nccl")])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_name_cut_short_states_no_value_that_the_whole_name_does_not(family: str, data: st.DataObject) -> None:
    name, _ = data.draw(RENDERERS[family])
    # Profilers' tables cut at a width, in the middle of a token.
    whole, cut = parse(name), parse(name[: data.draw(st.integers(1, len(name)))])
    if cut.family != whole.family:
        return
    for field in ("arch", "stages", "cluster", "warps", "mma", "layout", "split_k", "sliced_k", "two_cta"):
        assert getattr(cut, field) in (None, getattr(whole, field)), field
    for part, other in zip(cut.tile or (None,) * 3, whole.tile or (None,) * 3, strict=True):
        assert part in (None, other)
    for part in ("a", "b", "accumulate", "output"):
        assert value(cut, f"types.{part}") in (None, value(whole, f"types.{part}")), part
    assert cut.split_k_form in (None, whole.split_k_form)


WORDS = st.sampled_from(
    [
        "nvjet",
        "cutlass",
        "cutlass3x",
        "sm90",
        "xmma",
        "gemm",
        "64x8",
        "64x16",
        "tilesize",
        "align8",
        "splitK",
        "::",
        "<",
        ">",
        "(",
        ")",
        ",",
        "(int)128",
        "128u",
        "Kernel2",
        "_Z",
        "I",
        "E",
        "S_",
        "flash_fwd_kernel",
        "at::native::",
        "reduce_kernel",
        "{lambda()#1}",
        "N7cutlass",
        "S0_",
        "Li128E",
        "splitKreduce_kernel",
        "T4*",
        "void",
        "triton_poi_",
        "fmhaSm100aKernel_Qkv",
        "E4m3",
        "bmm_",
        "cute::tuple<",
        "cute::C<128>",
        "MainloopSm90",
        "Memcpy",
        "Cijk_Ailk_",
        "_",
        "\x00",
        "ncclDevKernel",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(WORDS, max_size=40).map("".join),
    st.lists(WORDS, max_size=40).map("_".join),
    st.builds(
        lambda name, at, put: name[:at] + put + name[at:],
        st.sampled_from(NAMES),
        st.integers(0, 400),
        st.text(max_size=5),
    ),
    st.builds(lambda name, at: name[:at], st.sampled_from(NAMES), st.integers(0, 400)),
)


@given(TEXTS)
@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_read_without_error_to_the_same_result_and_keeps_its_name(text: str) -> None:
    kernel = parse(text)
    assert kernel == parse(text)
    assert kernel.name == text
    assert kernel.role in ROLES
    assert kernel.split_k_form in FORMS
    assert kernel.family
    hash(kernel)
    assert differing_fields(kernel, kernel) == ()
    assert isinstance(describe(kernel), str)
    assert all(token.text for token in explain(text))


@pytest.mark.parametrize("name", [name for name in NAMES if parse(name).family in TOKENS])
def test_explain_leaves_out_no_part_of_a_procedural_name(name: str) -> None:
    parts = [part for part in spelled(name).procedural.split("_") if part]
    assert "_".join(token.text for token in explain(name)).split("_") == parts


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
@settings(max_examples=200, deadline=None)
def test_changes_between_two_names_are_told_the_same_way_round_and_back(first: str, second: str) -> None:
    there, back = differing_fields(parse(first), parse(second)), differing_fields(parse(second), parse(first))
    assert {(change.field, change.a, change.b) for change in there} == {
        (change.field, change.b, change.a) for change in back
    }


@pytest.mark.parametrize(
    "text",
    ["trt", "trt(", "<", "void <", "_Z", "_ZN", "_Z1", "cudnn", "sm_xmma_", "nvjet", "fmha", "bmm__", "bmm_E4m3_"],
)
def test_what_fuzzing_broke_stays_whole(text: str) -> None:
    assert parse(text).name == text
    explain(text)


LONG = 100_000
MONSTERS = {
    "one letter": "a" * LONG,
    "digits": "1" * LONG,
    "underscores": "_" * LONG,
    "open brackets": "<" * 50_000,
    "open brackets of a known kernel": "void at::native::reduce_kernel" + "<" * 50_000,
    "balanced brackets": "void cublasLt::splitKreduce_kernel" + "<" * 50_000 + ">" * 50_000 + "(int)",
    "closing brackets": ">" * LONG,
    "parentheses": "void f" + "(" * 50_000 + ")" * 50_000,
    "commas": "void cublasLt::splitKreduce_kernel<" + "1," * 50_000 + "1>",
    "anonymous namespaces": "<unnamed>::" * 9_000,
    "NUL": "\0" * LONG,
    "nvjet with many digits": "nvjet_sm90_hsh_" + "9" * LONG + "x8_64x12_4x1_v_bz_TNT",
    "nvjet with many tokens": "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_" + "coopA_" * 16_000 + "TNT",
    "cutlass with many types": "cutlass3x_sm90_tensorop_gemm_" + "f16_" * 25_000,
    "cutlass with many shapes": "cutlass_80_tensorop_s16816gemm_" + "64x64_" * 16_000,
    "xmma with many types": "sm80_xmma_gemm_" + "f32f32_" * 14_000 + "tilesize64x64x8",
    "mainloops": "void cutlass::device_kernel<" + "MainloopSm90" * 8_000,
    "instructions": "void cutlass::device_kernel<MainloopSm100<1>" + "SM100_MMA_" * 9_000,
    "schedulers": "void cutlass::device_kernel<flash::FlashAttnFwd<flash::" + "TileScheduler" * 7_000,
    "words in front of a mainloop": "void cutlass::device_kernel<" + "w" * LONG + "MainloopSm90<",
    "capitals": "kernel_cutlass_" + "A" * LONG,
    "traits": "void flash_fwd_kernel<" + "kernel_traits<" * 7_000,
    "fmha words": "fmhaSm100aKernel_" + "Kv" * 50_000,
    "mangled nest": "_Z" + "N" * LONG,
    "mangled arguments": "_ZN1a1b" + "I" * LONG,
    "mangled numbers": "_ZN" + "1" * LONG,
    "mangled substitutions": "_ZN1aI" + "S_" * 50_000,
    "mangled doubling": "_Z1fI"
    + "".join(f"St4pairIS{n}_S{n}_E" for n in ("", *range(9), *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    "mangled pointers": "_Z1fI" + "P" * LONG,
    "lambda types": "void at::native::f<" + "{lambda()#1}::operator()() const::" * 3_000,
    "copies": "Memcpy " + "(" * LONG,
}


@pytest.mark.parametrize("monster", MONSTERS)
def test_enormous_names_are_read(monster: str) -> None:
    kernel = parse(MONSTERS[monster])
    assert kernel.name == MONSTERS[monster]
    explain(MONSTERS[monster])


def _steps(text: str) -> int:
    """Count the lines of Python that reading a name runs through."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        parse(text)
    finally:
        sys.settrace(previous)
    return count


@pytest.mark.parametrize("monster", MONSTERS)
def test_steps_grow_no_faster_than_the_name(monster: str) -> None:
    text = MONSTERS[monster]
    quarter, half = _steps(text[: len(text) // 4]), _steps(text[: len(text) // 2])
    # Twice the text is at most about twice the work; a constant part may even make it less.
    assert half <= 2.5 * quarter + 200


def _patterns() -> list[tuple[str, str]]:
    found = []
    for module in pkgutil.iter_modules(tracediff.kernels.__path__):
        loaded = importlib.import_module(f"tracediff.kernels.{module.name}")
        found += [
            (f"{module.name}.{word}", member.pattern)
            for word, member in vars(loaded).items()
            if isinstance(member, re.Pattern)
        ]
        if hasattr(loaded, "MEANINGS"):
            meanings = {**loaded.MEANINGS.tokens, **loaded.MEANINGS.procedural}
            found += [(f"rule of {family}", rule[0]) for family, rules in meanings.items() for rule in rules]
    return found


def _repeats_nested(parsed: Any, inside: bool = False) -> bool:
    """Say whether an unbounded repetition stands inside another one."""
    for operator, argument in parsed:
        name = str(operator)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            unbounded = high - low > 100
            if (unbounded and inside) or _repeats_nested(body, inside or unbounded):
                return True
        elif name == "SUBPATTERN":
            if _repeats_nested(argument[3], inside):
                return True
        elif name == "BRANCH" and any(_repeats_nested(branch, inside) for branch in argument[1]):
            return True
    return False


def test_no_pattern_repeats_a_repetition() -> None:
    # `(a+)*` is what makes a regular expression take exponential time.
    import re._parser as parser

    patterns = _patterns()
    assert len(patterns) > 30
    assert [where for where, pattern in patterns if _repeats_nested(parser.parse(pattern))] == []
    assert _repeats_nested(parser.parse(r"(?:\w+::)*x"))
