"""Kernel names are found in rows as people paste them, for every name of the corpus."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.kernels.pasted import name_in_row

CORPUS = (Path(__file__).parent / "kernel_names.jsonl").read_text(encoding="utf-8").splitlines()
NAMES = [json.loads(line)["name"] for line in CORPUS]

#: The rows of real tables, NAME for the kernel.
ROWS = {
    "the name alone": "NAME",
    "nsys stats": "    43.6      4548000000      32768    138797.0   138797.0    101000    160000     2345.6  NAME",
    "nsys stats, pasted with single spaces": "43.6 4548000000 32768 138797.0 101000 160000 NAME",
    "nsys stats with decimal commas": "    11,0  169 648 120        120  1 413 734,0      368 512  5 551 767  NAME",
    "nsys stats as CSV": '43.6,4548000000,32768,138797.0,101000,160000,"NAME"',
    "nsys trace": "  5563262418  2304  711  4096  1  1  128  1  1  16  0.000  NVIDIA H100 80GB HBM3 (0)  1  7  NAME",
    "nvprof": " GPU activities:   15.95%  1.72898s     28160  61.398us  3.4240us  133.22us  NAME",
    "nvprof, a later row": "                   15.95%  1.72898s     28160  61.398us  3.4240us  133.22us  NAME",
    "nvprof trace": "214.98ms  1.2160us  (1 1 1)  (128 1 1)  16  0B  -  -  -  Tesla V100-SXM2 (0)  1  7  NAME [123]",
    "ncu": "  NAME (128, 1, 1)x(256, 1, 1), Context 1, Stream 7, Device 0, CC 9.0",
    "ncu, older": "  NAME, 2021-Mar-02 14:08:58, Context 1, Stream 7",
    "ncu, while it profiles": '==PROF== Profiling "NAME" - 0: 0%....50%....100% - 8 passes',
    "ncu as CSV": '"0","1234","python","127.0.0.1","NAME","1","7","(256, 1, 1)","9.0","DRAM","cycle/ns","1.21"',
    "PyTorch": "NAME         0.00%       0.000us       3.590ms        30.10%       99.722us            36  ",
    "PyTorch, pasted with single spaces": "NAME 0.00% 0.000us 3.590ms 30.10% 99.722us 36",
    "Markdown": "| all | NAME | gemm | 0.97 ms | 4.3% | 5 |",
    "Markdown with backticks": "| all | `NAME` | gemm | 0.97 ms | 4.3% | 5 |",
    "backticks": "`NAME`",
    "a list": "- NAME",
    "a numbered list": "3. `NAME`",
    "a quotation": "> NAME",
    "JSON": '    "name": "NAME",',
    "tabs": "43.6\t4548000000\tNAME\t12",
}


@pytest.mark.parametrize("row", ROWS)
def test_the_name_is_found_whole(row):
    found = {name: name_in_row(ROWS[row].replace("NAME", name)) for name in NAMES}
    assert {name: read for name, read in found.items() if read != name} == {}


@pytest.mark.parametrize("row", ["43.6,4548000000,32768,NAME", '"0","12",NAME,3', "1,NAME,gemm"])
def test_a_name_without_commas_is_found_in_csv_without_quotes(row):
    name = "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT"
    assert name_in_row(row.replace("NAME", name)) == name


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        " -------  ---------------  ---------",
        "| --- | ---: |",
        "```",
        "```text",
        " Time (%)  Total Time (ns)  Instances  Avg (ns)  Name",
        "| phase | kernel | role | time |",
        "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name",
        '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream"',
        "            Type  Time(%)      Time     Calls       Avg       Min       Max  Name",
        "                           Name    Self CPU %      Self CPU   CPU total %   # of Calls  ",
        "Processing [run.sqlite] with [/opt/nsys/host-linux-x64/reports/cuda_gpu_kern_sum.py]... ",
        "SKIPPED: run.sqlite does not contain ENUM_CUDA_MEM_KIND table.",
        " ** CUDA GPU Kernel Summary (cuda_gpu_kern_sum):",
        "==PROF== Connected to process 1234 (/usr/bin/python3.11)",
        "==1234== Profiling result:",
        "Self CUDA time total: 11.927ms",
    ],
)
def test_rules_headers_and_what_profilers_say_hold_no_name(line):
    assert name_in_row(line) is None


NSYS_STATS = """Processing [b1.sqlite] with [/opt/nsys/host-linux-x64/reports/cuda_gpu_kern_sum.py]...

 ** CUDA GPU Kernel Summary (cuda_gpu_kern_sum):

 Time (%)  Total Time (ns)  Instances  Avg (ns)  StdDev (ns)  Name
 --------  ---------------  ---------  --------  -----------  --------------------------------------------------------
     31.1          5850382        192   30470.7        561.9  nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT
      4.1           765688        480    1595.2        102.5  void at::native::elementwise_kernel<(int)128, void at::n…

"""


def test_what_nsys_stats_prints_is_its_names():
    found = [name for line in NSYS_STATS.splitlines() if (name := name_in_row(line))]
    assert found == [
        "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT",
        "void at::native::elementwise_kernel<(int)128, void at::n…",
    ]


@pytest.mark.parametrize("name", ["add", "name", "my kernel", "mystery_kernel_9000", "void f(int)"])
def test_a_line_that_is_no_row_is_the_name_as_it_is(name):
    assert name_in_row(f"{name}\r\n") == name


def test_a_name_of_no_known_family_is_found_by_its_form():
    assert name_in_row("| all | my_norm_kernel | 3 ms |") == "my_norm_kernel"
    assert name_in_row("12.5  33  void acme::scale<int>(int*)") == "void acme::scale<int>(int*)"
    assert name_in_row("12.5  33  scale<int>(int*)") == "scale<int>(int*)"


def test_plain_words_in_a_row_are_no_name():
    assert name_in_row("| prefill | gemm | 3 ms |") is None


def test_an_enormous_field_is_no_name():
    assert name_in_row(f'"1","{"a" * 200_000}"') is None


@given(st.text())
def test_any_line_is_read_without_error(line):
    found = name_in_row(line)
    assert found is None or found.strip() == found
