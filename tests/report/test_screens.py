"""The screens of all profiles as a person checked them, at three widths; their numbers are those of the JSON."""

import json
import re
import shutil
from collections import Counter
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.golden import assert_golden, run
from tests.profiles import BFLOAT16, FLOAT16, FLOAT32, LONG, LONG_8B, LONG_FLASH, LONGEST, PROFILES
from tracediff.diff import diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.overview import overview
from tracediff.report.diff.hanging import NARROW
from tracediff.report.diff.lines import open_lines
from tracediff.report.diff.terminal import lines_table
from tracediff.report.words import duration
from tracediff.trace import read_trace

VLLM = PROFILES / "vllm"
PAIRS = [(folder, batch) for folder in (FLOAT16, BFLOAT16, FLOAT32) for batch in (2, 8)]
every_pair = pytest.mark.parametrize(("folder", "batch"), PAIRS, ids=[f"{f.name}-{b}" for f, b in PAIRS])


def traces(folder, batch):
    return folder / "b1.sqlite", folder / f"b{batch}.sqlite"


@every_pair
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_screen(folder, batch, columns):
    screen = run("diff", *traces(folder, batch), columns=columns)
    assert max(map(len, screen.splitlines())) <= columns
    if columns >= 120:
        assert len(screen.splitlines()) <= 41
    assert_golden(screen, f"diff/{folder.name}-b{batch}-{columns}.txt")


@pytest.mark.parametrize("columns", [40, 60, 72, 79, 80, 95, 96, 120])
def test_no_word_of_what_is_counted_of_several_traces_is_broken(columns):
    screen = run("diff", *(FLOAT16 / f"b{batch}.sqlite" for batch in (1, 2, 8)), columns=columns)
    counted = screen[screen.index("against trace 0") : screen.index("\nprefill")]
    words = set(re.findall(r"[A-Za-z][\w-]*", counted))
    counts = {"kernels", "split-K", "reductions", "time", "ms", "same", "order", "unknown", "changed"}
    assert words == {"against", "trace"} | counts


@pytest.mark.parametrize("form", [(), ("--format", "markdown")])
def test_signs_are_explained_of_the_modules_that_are_shown(form):
    shown = run("diff", *traces(FLOAT16, 2), "--module", "lm_head", *form, columns=200)
    signs = next(line for line in shown.splitlines() if line.lstrip("- ").startswith("signs"))
    assert "=" in signs
    assert "≠" not in signs


def test_a_label_stands_apart_from_what_it_labels(tmp_path):
    for name in ("manifest.json", "b1.sqlite", "b2.sqlite"):
        shutil.copy(FLOAT16 / name, tmp_path / name)
    evidence = json.loads((FLOAT16 / "evidence.json").read_text())
    modules = evidence["pairs"][0]["modules"]["prefill"]
    modules |= {name: [[0.01, 5], [0.5, 9]] for name in modules if name.endswith("k_proj")}
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    assert "\nbroken rule predicted equal" in run("diff", *traces(tmp_path, 2), columns=120)


@every_pair
def test_the_markdown(folder, batch):
    text = run("diff", *traces(folder, batch), "--format", "markdown")
    assert_golden(text, f"diff/{folder.name}-b{batch}.md")


def test_several_traces():
    shown = run("diff", *(FLOAT16 / f"b{batch}.sqlite" for batch in (1, 2, 8)), columns=120)
    assert_golden(shown, "diff/three-120.txt")


# Traces of other kinds: long prompts, a server with and without CUDA graphs, recorded programs, two strangers.
OTHER_PAIRS = {
    "long-prompt": (LONG_8B / "b1.sqlite", LONG_8B / "b2.sqlite"),
    "long-prompt-1b": (LONG / "b1.sqlite", LONG / "b7.sqlite"),
    "longest-prompt": (LONGEST / "b1.sqlite", LONGEST / "b2.sqlite"),
    "flash": (LONG_FLASH / "b1.sqlite", LONG_FLASH / "b7.sqlite"),
    "vllm-eager": (VLLM / "eager-b1.sqlite", VLLM / "eager-b8.sqlite"),
    "vllm-graphs": (VLLM / "graphs-b1.sqlite", VLLM / "graphs-b8.sqlite"),
    "vllm-invariant": (VLLM / "graphs-invariant-b1.sqlite", VLLM / "graphs-invariant-b8.sqlite"),
    "vllm-eager-graphs": (VLLM / "eager-b1.sqlite", VLLM / "graphs-b1.sqlite"),
    "recorded": (PROFILES / "record" / "capture-b1.sqlite", PROFILES / "record" / "generate-b1.sqlite"),
    "strangers": (FLOAT16 / "b1.sqlite", VLLM / "eager-b1.sqlite"),
    "dtypes": (FLOAT16 / "b1.sqlite", BFLOAT16 / "b1.sqlite"),
    "itself": (FLOAT16 / "b1.sqlite", FLOAT16 / "b1.sqlite"),
}


@pytest.mark.parametrize("name", OTHER_PAIRS)
def test_the_screen_and_the_markdown_of_other_traces(name):
    assert_golden(run("diff", *OTHER_PAIRS[name], columns=120), f"diff/{name}-120.txt")
    assert_golden(run("diff", *OTHER_PAIRS[name], "--format", "markdown"), f"diff/{name}.md")


def test_a_servers_model_comes_before_what_runs_beside_it():
    screen = run("show", VLLM / "serve-graphs.sqlite", columns=120)
    tables = re.findall(r"^(?:LlamaForCausalLM|execute_context)\S*$", screen, re.MULTILINE)
    assert tables[0].startswith("LlamaForCausalLM")
    assert any(line.startswith("execute_context") for line in tables)


@pytest.mark.parametrize("trace", [FLOAT16 / "b1.sqlite", VLLM / "graphs-b1.sqlite"], ids=["llama", "vllm"])
def test_one_trace(trace):
    assert_golden(run("show", trace, columns=120), f"show/{trace.parent.name}-{trace.stem}-120.txt")


@every_pair
def test_every_number_of_the_chain_is_found_again_in_the_json(folder, batch):
    screen = run("diff", *traces(folder, batch), columns=200)
    document = json.loads(run("diff", *traces(folder, batch), "--format", "json"))
    chain = next(line for line in screen.splitlines() if line.startswith("chain"))
    shown = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", chain)]
    links = {link["name"]: link for link in document["answer"]["chain"]}
    expected = [links["kernels"]["differing"], links["order"]["differing"]]
    expected += [links["order"]["unknown"]] if links["order"]["unknown"] else []
    expected += [links["bits"]["differing"]]
    expected += [links[name][key] for name in ("logits", "tokens") for key in ("differing", "total")]
    assert shown == [*expected, links["kernels"]["total"]]
    rows = document["rows"]
    assert links["kernels"]["total"] == len(rows)
    assert links["order"]["differing"] == sum(row["verdict"] == "order-changed" for row in rows)
    measured = [row["evidence"]["isolated"] for row in rows if row["evidence"] and row["evidence"]["isolated"]]
    assert links["bits"]["differing"] == sum(not bits["equal"] for bits in measured)


@every_pair
def test_every_other_number_of_the_screen_is_found_again_in_the_json(folder, batch):
    screen = run("diff", *traces(folder, batch), "--sort", "order", columns=400)
    document = json.loads(run("diff", *traces(folder, batch), "--format", "json"))
    margin = document["answer"]["margin"]
    told = [line for line in screen.splitlines() if line.startswith("margin")]
    assert len(told) == (margin is not None and margin["max_abs"] > 0)
    for line in told:
        expected = [margin["max_abs"], margin["scale"], margin["smallest"]]
        shown = re.findall(r"(?:logit\| |up to |tie )([\d.e-]+)", line)
        assert [float(number) for number in shown] == [pytest.approx(number, rel=0.05) for number in expected]
    # Each section: its kernels, its split-K reductions, its times, and every module in a line or a fold.
    for part in re.split(r"\n\n", screen)[2:]:
        heading, *lines = part.splitlines()
        name = re.match(r"[a-z]+", heading)[0]
        rows = [row for row in document["rows"] if row["phase"].partition("[")[0] == name]
        before, after = (sum(len(row[side]) for row in rows) for side in ("a", "b"))
        assert (
            f"   {before:,} kernels" in heading if before == after else f"   {before:,} → {after:,} kernels" in heading
        )
        reduces = [sum(row["splitk_reduce"][side] for row in rows) for side in (0, 1)]
        if any(reduces):
            words = f"{reduces[0]:,}" if reduces[0] == reduces[1] else f"{reduces[0]:,} → {reduces[1]:,}"
            assert f"split-K reductions {words}" in heading
        times = [duration(sum(row["duration_ns"][side] for row in rows)) for side in (0, 1)]
        assert " → ".join(times) in heading
        folded = [line for line in lines if re.match("[=·≈]  ", line)]
        counts = [re.match(r"[=·≈]  ([\d,]+) modules?:", line)[1] for line in folded]
        if not folded:
            assert "unchanged" in heading
            continue
        equal = [row for row in rows if row["evidence"] is None or row["evidence"]["isolated"]["equal"]]
        assert sum(int(number.replace(",", "")) for number in counts) == len(equal)


@every_pair
def test_the_json_of_a_pair_states_each_kernel_once_and_stays_small(folder, batch):
    text = run("diff", *traces(folder, batch), "--format", "json")
    document = json.loads(text)
    assert len(text) < 3_000_000
    used = {place for row in document["rows"] for side in "ab" for place in row[side]}
    assert used == set(range(len(document["kernels"])))
    stated = [json.dumps(kernel) for kernel in document["kernels"]]
    assert len(set(stated)) == len(stated)


@every_pair
def test_no_table_is_wider_than_the_terminal_which_would_cut_it(folder, batch):
    table, other = (read_trace(path) for path in traces(folder, batch))
    result = attach_evidence(diff_tables(table, other))
    for columns in range(NARROW, 200, 8):
        console = Console(width=columns, file=StringIO())
        for section in overview(result.rows):
            lines = open_lines(section)
            if lines:
                text = "".join(segment.text for segment in console.render(lines_table(lines, columns)))
                assert max(map(cell_len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [112, 120, 131, 160])
def test_no_word_of_many_traces_is_cut(columns):
    def words(width):
        screen = run("diff", *(FLOAT16 / f"b{batch}.sqlite" for batch in (1, 2, 8)), columns=width)
        return Counter(word for line in screen.splitlines() for word in line.split() if not set(word) <= set("─"))

    assert words(columns) == words(400)


@pytest.mark.parametrize("columns", [30, 50, 56, 72, 79])
def test_one_trace_on_a_narrow_terminal_breaks_no_name(columns):
    screen = run("show", VLLM / "eager-b1.sqlite", columns=columns)
    assert max(map(cell_len, screen.splitlines())) <= columns
    wide = run("show", VLLM / "eager-b1.sqlite", columns=300)
    words = {word for line in wide.splitlines()[8:] for word in line.split() if len(word) <= columns - 6}
    assert {"self_attn.qkv_proj", "reduction,"} < words
    shown = set(screen.split())
    assert words - shown <= {"layers", "module", "kernel", "time"}


@pytest.mark.parametrize("columns", [80, 100])
def test_a_long_module_is_broken_at_its_joints(columns):
    screen = run("show", FLOAT16 / "b1.sqlite", columns=columns)
    assert "post_attention_ " in screen
    assert "self_attn.q_proj" in screen
