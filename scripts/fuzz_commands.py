"""Damaged results and pasted text, read by the commands themselves, and files that measuring reads."""

from __future__ import annotations

import functools
import io
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from fuzz_inputs import (
    PROFILES,
    changed_words,
    damaged_document,
    damaged_text,
    few,
    written,
)
from fuzz_outputs import (
    OutputError,
    json_lines,
    plain_text,
    require,
    safe_csv,
    safe_html,
    safe_markdown,
    strict_json,
)
from fuzz_traces import document, small_evidence, trace_texts

from tracediff.cli import app
from tracediff.errors import TracediffError
from tracediff.findings.flips import FlipSettings
from tracediff.measure.flips_log import SearchLog
from tracediff.measure.part_file import PartFile
from tracediff.measure.prompts import read_prompts

Make = Callable[[Path, random.Random], Path]
Check = Callable[[Path, random.Random], None]


class BugError(Exception):
    """A command ended with a traceback."""


def run_command(*words: str | Path, text: str = "", told: Callable[[str], object] = plain_text) -> None:
    """Run a command; check what it prints. Raises TracediffError where it ends in one line of error."""
    stdin, stdout, stderr = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass"))), _stream(), _stream()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
    try:
        code = app([str(word) for word in words], standalone_mode=False, prog_name="tracediff")
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    said, printed = _text(stderr), _text(stdout)
    if "this is a bug in tracediff" in said:
        raise BugError(said)
    plain_text(said)
    if code == 2:
        require(said.splitlines()[-1].startswith("tracediff: "), f"an error that is not one line: {said[-300:]!r}")
        raise TracediffError(said.splitlines()[-1])
    require(code in (None, 0), f"exit code {code}")
    told(printed)


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer.getvalue()  # type: ignore[attr-defined]
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise OutputError(f"output that is not UTF-8: {error}") from error


_TOLD: dict[str, Callable[[str], object]] = {
    "json": strict_json,
    "csv": safe_csv,
    "markdown": safe_markdown,
    "table": plain_text,
}


def shown_by(command: str, *formats: str, page: float = 0.0) -> Check:
    """Return what shows a result file by a command, in one of its formats; with a probability also as a page."""

    def check(path: Path, chance: random.Random) -> None:
        name = chance.choice(formats)
        more = chance.random() < page
        html = path.with_suffix(".html")
        words = ["--html", html, "--force"] if more else []
        run_command(command, path, "--format", name, *words, told=_TOLD[name])
        if more:
            safe_html(html.read_text(encoding="utf-8"))

    return check


def result_of(name: str, make: Callable[[], Any]) -> Make:
    """Return what writes a damaged result file."""
    seed = functools.cache(make)
    return lambda folder, chance: written(folder / name, damaged_document(seed(), chance))


def _flips() -> Any:
    """Return a search of one prompt that flips."""
    whole = document("tokens/flips_generate.json")
    search = next(search for search in whole["searches"] if any(prompt["flips"] for prompt in search["prompts"]))
    prompt = next(prompt for prompt in search["prompts"] if prompt["flips"])
    small = {**search, "prompts": [{**prompt, "flips": prompt["flips"][:1]}]}
    settings = {**whole["settings"], "precisions": [[search["dtype"], search["tf32"]]]}
    return {**whole, "settings": settings, "searches": [small]}


def _determinism() -> Any:
    whole = document("tokens/determinism.json")
    varying = [row for row in whole["rows"] if row["first_different"]]
    return {**whole, "rows": [*whole["rows"][:2], *varying[:2]]}


def _map(path: str = "maps/llama-3-8b-float16-h100.json") -> Any:
    """Return a map of a few modules and row counts."""
    whole = document(path)
    return {**whole, "modules": [_few_counts(module) for module in whole["modules"][:4]]}


def _few_counts(module: Any, most: int = 12) -> Any:
    cut = {name: module[name][:most] for name in ("rows", "nanoseconds")}
    for name in ("bits", "order", "predicted", "reason", "kernels"):
        cut[name] = {**module[name], "index": module[name]["index"][:most]}
    return {**module, **cut}


def _remedies() -> Any:
    whole = document("remedies/llama-3-8b-float16-h100.json")
    kept = [each["setting"] for each in whole["bits"][:3]]
    times = [
        {**each, "rounds": {name: rounds for name, rounds in each["rounds"].items() if name in kept}}
        for each in whole["times"][:3]
    ]
    return {**whole, "bits": whole["bits"][:3], "times": times}


make_flips = result_of("flips.json", _flips)
make_determinism = result_of("determinism.json", _determinism)
make_remedies = result_of("remedies.json", _remedies)
check_flips = shown_by("flips", "json", "table", page=0.005)
check_determinism = shown_by("determinism", "json", "table")
check_remedies = shown_by("remedies", "json", "csv", "markdown", "table")


def make_two_maps(folder: Path, chance: random.Random) -> Path:
    """Write a map, and another whose modules it may share."""
    written(folder / "b.json", json.dumps(_map()).encode())
    path = chance.choice(["maps/llama-3-8b-float16-h100.json", "maps/llama-3-8b-float16-h200.json"])
    return written(folder / "a.json", damaged_document(_map(path), chance))


def check_map(path: Path, chance: random.Random) -> None:
    """Show a map, or compare it with another."""
    if chance.random() < 0.6:
        shown_by("map", "json", "csv", "table", page=0.1)(path, chance)
    else:
        name = chance.choice(["json", "table"])
        run_command("diff", path, path.with_name("b.json"), "--format", name, told=_TOLD[name])


def make_capture(folder: Path, chance: random.Random) -> Path:
    """Write what a capture's folder holds, one of the documents damaged."""
    path = folder / "capture"
    path.mkdir(exist_ok=True)
    documents = {
        "manifest.json": document("llama-3-8b-float16/manifest.json"),
        "evidence.json": small_evidence("llama-3-8b-float16/evidence.json"),
        "flips.json": _flips(),
        "determinism.json": _determinism(),
    }
    damaged = chance.choice(list(documents))
    for name, content in documents.items():
        if name == damaged:
            written(path / name, damaged_document(content, chance))
        else:
            written(path / name, json.dumps(content).encode())
    return path


def check_capture(path: Path, chance: random.Random) -> None:
    """Explain what a capture found."""
    name = chance.choice(["json", "markdown", "table"])
    run_command("explain", path, "--format", name, told=_TOLD[name])


_PASTED = (
    '{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},'
    '{"token":"b","logprob":-1.25}]}]}}],"usage":{"total_tokens":7}}',
    '{"a": 1.5, "b": 1.25, "c": -9999.0}',
    "[12.5, 12.4375, 11.0]",
    "tensor([[1.5000, 1.2500], [0.1, -inf]], device='cuda:0', dtype=torch.bfloat16)",
    "{11: Logprob(logprob=-0.49, rank=1, decoded_token=' a'), 12: Logprob(logprob=-1.2, rank=2, decoded_token='b')}",
    "[('a', -0.5), ('b', -1.25)]",
    "[12.5   12.4375 11.    ]",
    'data: {"choices":[{"logprobs":{"content":[]}}]}\n\ndata: {"top_logprobs": {"a": -0.5, "b": -1.5}}\n\ndata: [DONE]',
    "| token | logprob |\n| --- | --- |\n| a | -0.5 |\n| b | -1.25 |",
    "token,logprob,rank\na,-0.5,1\nb,-1.25,2\n",
    "INFO step=1 token='a' logprob=-0.49\nINFO step=1 token='b' logprob=-1.20\n",
    '{"completion_probabilities":[{"content":"a","probs":[{"tok_str":"a","prob":0.7},{"tok_str":"b","prob":0.3}]}]}',
    '{"meta_info":{"output_top_logprobs":[[[-0.5,11,"a"],[-1.5,12,"b"]]]}}',
    "torch.return_types.topk(values=tensor([1.5, 1.25]), indices=tensor([3, 7]))",
    "a 45.2%\nb 12.5%\nc 3%",
    "1.5\t1.25\t0.5\n2.5\t2.25\t0.25",
)
_PASTED_BYTES = b"[](){}<>,:=|'\"\\ .-+eE0123456789infa\n\t%#\xe2\xff"


def make_lattice(folder: Path, chance: random.Random) -> Path:
    """Write logits as people paste them."""
    text = chance.choice(_PASTED)
    if chance.random() < 0.4:
        text = changed_words(text, chance.choice(_PASTED), chance)
    content = text.encode("utf-8", "surrogatepass")
    return written(folder / "t.txt", damaged_text(content, chance, _PASTED_BYTES) if chance.random() < 0.6 else content)


def check_lattice(path: Path, chance: random.Random) -> None:
    """Read pasted logits."""
    name = chance.choice(["json", "table"])
    words = chance.choice([[], [], ["--dtype", "float16"], ["--kind", "logprobs"], ["--kind", "probabilities"]])
    run_command("lattice", path, "--format", name, *words, told=_TOLD[name])


_ROWS = (
    "{0}", "| {0} | 12 | 3.4 ms |", "   43.6    1,234,567   12  {0}", '"{0}",1,2,3', "`{0}`: 3.4 us", "* {0} [123]",
    "GPU activities:  12.34%  1.72898s  4385  394.29us  {0}", "  {0} (64, 1, 1)x(128, 1, 1), Context 1, Stream 7",
    "{0}\t12\t3.5",
)  # fmt: skip


def make_names(folder: Path, chance: random.Random) -> Path:
    """Write kernel names as rows of tables."""
    lines = []
    for _ in few(chance, 1, 2, 5):
        name = changed_words(chance.choice(trace_texts()), chance.choice(trace_texts()), chance)
        lines.append(chance.choice(_ROWS).replace("{0}", name))
    return written(folder / "names.txt", "\n".join(lines).encode("utf-8", "surrogatepass"))


def check_names(path: Path, chance: random.Random) -> None:
    """Read pasted names, and explain their tokens."""
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    words = [*chance.choice([[], ["--explain"]]), *chance.choice([[], ["--format", "json"]])]
    run_command("name", "-", *words, text=text, told=json_lines if "json" in words else plain_text)


def make_prompts(folder: Path, chance: random.Random) -> Path:
    """Write a file of prompts."""
    lines = _prompt_lines()[: chance.choice([1, 3])]
    some = [damaged_document(json.loads(line), chance) if chance.random() < 0.5 else line.encode() for line in lines]
    content = b"\n".join(some) if chance.random() < 0.8 else damaged_text(b"one\r\ntwo\n\nthree", chance, _PASTED_BYTES)
    return written(folder / "prompts.jsonl", content)


@functools.cache
def _prompt_lines() -> list[str]:
    return (PROFILES / "tokens" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[:3]


def check_prompts(path: Path, _: random.Random) -> None:
    """Read prompts."""
    prompts = read_prompts(path)
    require(prompts and all(each.text for each in prompts), "an empty prompt")


def make_part(folder: Path, chance: random.Random) -> Path:
    """Write what an interrupted measurement left."""
    records = [
        {"asked": {"model": "llama-3-8b"}},
        {"machine": {"device": "cuda", "gpu": "NVIDIA H100"}},
        {"module": _map()["modules"][0]},
        {"note": "a note"},
    ]
    if chance.random() < 0.5:
        flips = _flips()
        prompt = flips["searches"][0]["prompts"][0]
        records = [
            {"settings": flips["settings"], "machine": flips["machine"]},
            {"search": 0, "repeatable": True},
            {"search": 0, "prompt": prompt},
            {"search": 0, "independent": [2, 64, True]},
        ]
    place = chance.randrange(len(records))
    lines = [
        damaged_document(record, chance) if number == place else json.dumps(record).encode()
        for number, record in enumerate(records)
    ]
    content = b"\n".join(lines) + chance.choice([b"\n", b"", b"\n{"])
    return written(folder / "out.json.part", content)


def check_part(path: Path, _: random.Random) -> None:
    """Resume what an interrupted measurement left."""
    if b'"settings"' in path.read_bytes()[:20]:
        settings = msgspec.convert(_flips()["settings"], FlipSettings)
        SearchLog.open(path, settings, _flips()["machine"], force=False)
    else:
        PartFile.open(path.with_suffix(""), {"model": "llama-3-8b"}, minutes=None, force=False)


def check_fleet(path: Path, chance: random.Random) -> None:
    """Group the traces of a dataset."""
    name = chance.choice(["json", "text"])
    run_command("fleet", path, "--format", name, told=strict_json if name == "json" else plain_text)
