"""Mangled names against c++filt, of binutils: generated ones with substitutions, and real ones."""

import os
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.test_name_corpus import ROWS
from tracediff.kernels.mangled import demangle

CPP_FILT = shutil.which("c++filt")
needs_cpp_filt = pytest.mark.skipif(
    CPP_FILT is None and os.environ.get("CI") != "true", reason="needs c++filt, of binutils"
)


def cpp_filt(names):
    """Return what c++filt makes of the names, without a function's return type and a lambda's parameters."""
    assert CPP_FILT is not None, "CI must have c++filt, of binutils"
    found = subprocess.run([CPP_FILT], input="\n".join(names), text=True, capture_output=True, check=True)
    return [
        re.sub(r"\{lambda\([^{}]*\)#", "{lambda()#", text).removeprefix("void ") for text in found.stdout.split("\n")
    ]


class Mangler:
    """Writes types as the Itanium C++ ABI (5.1) does: what was written before is referred to by its number."""

    def __init__(self):
        self.known = []

    def known_or(self, key, write):
        if key in self.known:
            number = self.known.index(key)
            return "S_" if number == 0 else f"S{'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'[number - 1]}_"
        text = write()
        self.known.append(key)
        return text

    def type(self, kind, *parts):
        if kind == "builtin":
            return parts[0]
        if kind == "literal":
            return f"L{parts[0]}{'n' if parts[1] < 0 else ''}{abs(parts[1])}E"
        if kind == "qualified":
            return self.known_or((kind, *parts), lambda: parts[0] + self.type(*parts[1]))
        return self.known_or((kind, *parts), lambda: self.nested(parts[0], parts[1], prefix=True))

    def prefix(self, path):
        """Write namespaces, each of which can be referred to afterwards."""
        if len(path) == 1:
            return self.known_or(("prefix", path), lambda: f"{len(path[0])}{path[0]}")
        return self.known_or(("prefix", path), lambda: self.prefix(path[:-1]) + f"{len(path[-1])}{path[-1]}")

    def nested(self, path, arguments, prefix=False):
        written = self.prefix(path[:-1])
        name = f"{len(path[-1])}{path[-1]}"
        if arguments:
            self.known.append(("prefix", path))
            name += "I" + "".join(self.type(*argument) for argument in arguments) + "E"
        return f"N{written}{name}E"


WORDS = st.sampled_from(["ns", "detail", "Policy", "half_t", "kernel", "Traits", "x1"])
BUILTINS = st.sampled_from("bcahstijlmxyfd").map(lambda letter: ("builtin", letter))
LITERALS = st.one_of(
    st.tuples(st.just("literal"), st.sampled_from("ijlm"), st.integers(0, 4096)),
    st.tuples(st.just("literal"), st.just("i"), st.integers(-9, -1)),
    st.tuples(st.just("literal"), st.just("b"), st.integers(0, 1)),
)
PATHS = st.lists(WORDS, min_size=2, max_size=3, unique=True).map(tuple)
TYPES = st.recursive(
    BUILTINS,
    lambda inner: st.one_of(
        st.tuples(st.just("qualified"), st.sampled_from(["P", "PK"]), BUILTINS).map(
            lambda each: ("qualified", "P", ("qualified", "K", each[2])) if each[1] == "PK" else each
        ),
        st.tuples(st.just("class"), PATHS, st.lists(inner | LITERALS, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@needs_cpp_filt
@given(
    functions=st.lists(
        st.tuples(PATHS, st.lists(TYPES | LITERALS, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_generated_names_read_as_cpp_filt_reads_them(functions):
    names = [f"_Z{Mangler().nested(path, arguments)}vv" for path, arguments in functions]
    for name, expected in zip(names, cpp_filt(names), strict=True):
        assert demangle(name) == expected.removesuffix("()")


REAL = (
    "_ZN2at6native12DispatchStubIPFvRKNS_6TensorERS2_lllbSt8optionalIlEENS0_18qavg_pool2d_stub_tEE7DEFAULTE",
    "_ZN2at6native13reduce_kernelILi512ELi1ENS0_8ReduceOpIfNS0_14func_wrapper_tIfNS0_11sum_functorIfffEEEEjfLi4EEEEEvT1_",
    "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_13BinaryFunctorIfffNS0_15binary_internal10MulFunctorIfEEEE"
    "St5arrayIPcLm3EEEEviT0_T1_",
    "_ZN7cutlass7Kernel2I64cutlass_80_tensorop_f16_s16816gemm_relu_f16_64x64_32x6_nn_align8EEvNT_6ParamsE",
    "_ZN8cublasLt19splitKreduce_kernelILi32ELi16EifffLb1ELb0ELb0EEEvNS_18cublasSplitKParamsIT4_EEPKT2_",
    "_ZN5flash16flash_fwd_kernelI23Flash_fwd_kernel_traitsILi128ELi128ELi64ELi4ELb0ELb0EN7cutlass6half_tEELb0ELb1EEEv16"
    "Flash_fwd_params",
    "_ZNSt6vectorIN3c106IValueESaIS1_EE9push_backERKS1_",
    "_ZN4vllm15rms_norm_kernelIN3c104HalfELi8EEEvPT_PKS3_S6_fii",
    "_ZN12_GLOBAL__N_19my_kernelIfLi3EEEvPT_",
)


@needs_cpp_filt
@pytest.mark.parametrize(
    "name", [*REAL, *(row["name"] for row in ROWS if row["name"].startswith("_Z") and "..." not in row["name"])]
)
def test_real_names_read_as_cpp_filt_reads_them(name):
    expected = cpp_filt([name])[0]
    read = demangle(name)
    if name not in REAL and expected == name:
        pytest.skip("c++filt does not read this name")
    assert read is not None
    assert expected.startswith(read.replace("{lambda()}", "{lambda()#1}"))
    assert expected[len(read) :][:1] in ("", "(")


def test_the_standard_namespace_is_told():
    assert demangle("_ZNSt6vectorIiSaIiEE4fillEv") == "std::vector<int, std::allocator<int> >::fill"
    assert demangle("_ZSt4fillIiEvT_") == "std::fill<int>"
    assert demangle("_ZN3foo3barISsE3bazEv") == "foo::bar<std::string>::baz"


def test_a_pointer_to_a_function_has_its_star_inside():
    assert demangle("_ZN3foo3barIPFvibEE3bazEv") == "foo::bar<void (*)(int, bool)>::baz"
    assert demangle("_ZN3foo3barIRFivEE3bazEv") == "foo::bar<int (&)()>::baz"


@needs_cpp_filt
@pytest.mark.parametrize(
    "arguments",
    ["NS_1aES1_", "A4_i", "JifE", "Dn", "MNS_1aEi", "PKc", "RKf", "Lb1ELb0E", "Lin5E", "Lj7ELl8ELm9E", "St4lessIiE"],
)  # fmt: skip
def test_kinds_of_template_arguments_read_as_cpp_filt_reads_them(arguments):
    name = f"_ZN3foo3barI{arguments}E3bazEv"
    assert f"{demangle(name)}()" == cpp_filt([name])[0]


def test_template_parameters_and_numbers_that_refer_to_nothing():
    assert demangle("_ZN3foo3barIT_E3bazEv") == "foo::bar<T>::baz"
    assert demangle("_ZN3foo3barIT0_E3bazEv") == "foo::bar<T0>::baz"
    assert demangle("_ZN3foo3barIT") == "foo::bar<"
    assert demangle("_ZN3foo3barINS_1aES9_E3bazEv") == "foo::bar<foo::a9_E3bazEv"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("_ZN3foo3barIiE", "foo::bar<IiE"),
        ("_ZN3foo3barIiLi", "foo::bar<int"),
        ("_ZN3foo3ba", "foo<3ba"),
        ("_Z", None),
        ("_ZN", None),
        ("plain", None),
        ("_ZN3foo3barIDTplEE", "foo::bar<DTplEE"),
    ],
)
def test_what_is_cut_or_not_known_stays_as_it_is_behind_what_was_read(name, read):
    assert demangle(name) == read


BUILTIN = {
    "v": "void",
    "b": "bool",
    "c": "char",
    "a": "signed char",
    "h": "unsigned char",
    "s": "short",
    "t": "unsigned short",
    "i": "int",
    "j": "unsigned int",
    "l": "long",
    "m": "unsigned long",
    "x": "long long",
    "y": "unsigned long long",
    "f": "float",
    "d": "double",
    "e": "long double",
    "w": "wchar_t",
}


@pytest.mark.parametrize(("letter", "written"), BUILTIN.items())
def test_each_builtin_type_has_its_letter(letter, written):
    assert demangle(f"_Z1kI{letter}Evv") == f"k<{written}>"


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ("Lin3ELj3ELl3ELm3ELx3ELy3ELb1ELb0ELc65E", "-3, 3u, 3l, 3ul, 3ll, 3ull, true, false, (char)65"),
        ("PiRiOiKiViPKi", "int*, int&, int&&, int const, int volatile, int const*"),
        ("SaIiESsSbIiE", "std::allocator<int>, std::string, std::basic_string<int> "),
        ("NSt4pairIifEE", "std::pair<int, float> "),
    ],
)
def test_arguments_are_written_as_in_the_source(arguments, read):
    assert demangle(f"_Z1kI{arguments}Evv") == f"k<{read}>"


@pytest.mark.parametrize(
    ("local", "read"),
    [
        ("UlvE_", "{lambda()#1}"),
        ("UliE0_", "{lambda()#2}"),
        ("UlifE8_", "{lambda()#10}"),
        ("Ut_", "{unnamed type#1}"),
        ("Ut1_", "{unnamed type#3}"),
    ],
)
def test_lambdas_and_unnamed_types_are_numbered(local, read):
    assert demangle(f"_Z1kIZ4mainE{local}Evv") == f"k<main()::{read}>"
