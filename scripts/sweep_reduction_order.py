"""Measure which kernel changes change bits: one row's output at many row counts, with the kernels that made it.

    python scripts/sweep_reduction_order.py --out sweep.jsonl.gz            on a GPU
    python scripts/sweep_reduction_order.py --out toy.jsonl.gz --toy --device cpu     tries the script out

Row 0 has the same input at every row count, so its output should have the same bits; where it has not, a kernel summed
in another order. Three tables: the projections of Llama-3-8B, norms and reductions, attention. For every pair of row
counts, `scripts/analyse_sweep.py` compares the bits with what kernel names, launches and tracediff's rules predict.

The output is one JSON object per line: a header; `{"name": …}` and `{"log": …}`, which later lines refer to by index in
order of appearance; and one line per case: table, group (cases of one group are comparable), rows, a hash of row 0's
bits, and the kernels as [name, grid, block, registers, shared memory]. Hashes are BLAKE2b with 8 bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracediff.capture.algorithm_log import AlgorithmLog, loaded_libraries
from tracediff.trace.algorithm import is_algorithm_log

SCHEMA = 1
TOKENS = (
    *range(1, 33), 36, 40, 44, 48, 52, 56, 60, 64, 65, 72, 80, 88, 96, 104, 112, 120, 128, 129, 144, 160, 176, 192, 208,
    224, 240, 256, 257, 288, 320, 352, 384, 416, 448, 480, 512, 513, 576, 640, 704, 768, 896, 1024, 1025, 1280, 1408,
    1536, 1792, 1920, 2047, 2048,
)  # fmt: skip
PROJECTIONS = {
    "q_proj, o_proj": (4096, 4096),
    "k_proj, v_proj": (4096, 1024),
    "gate_proj, up_proj": (4096, 14336),
    "down_proj": (14336, 4096),
    "lm_head": (4096, 128256),
}
TOY_PROJECTIONS = {"q_proj, o_proj": (64, 64), "down_proj": (128, 64)}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "TF32": torch.float32}
BATCHES = (1, 2, 3, 4, 6, 8, 16, 24, 32, 48, 64)
LENGTHS = (1, 6, 33, 128, 512)
VOCABULARY = 128256
BACKENDS = {
    "default": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
# Queries and cached keys.
ATTENTION_SIZES = (
    (1, 0), (6, 0), (33, 0), (128, 0), (512, 0), (6, 100), (1, 32), (1, 100), (1, 250), (1, 500), (1, 1000),
)  # fmt: skip
ROWS_TRIED = 8
# float32 rows beyond this only cost memory.
MAX_ELEMENTS = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement: `run` returns row 0's output, a tensor that stays on the device."""

    table: str
    group: str
    rows: int
    run: Callable[[], torch.Tensor]


@dataclass(slots=True)
class Output:
    """Writes lines, each distinct text once."""

    stream: TextIO
    texts: dict[str, dict[str, int]] = field(default_factory=lambda: {"name": {}, "log": {}})

    def line(self, value: dict[str, Any]) -> None:
        """Write one object."""
        self.stream.write(json.dumps(value, separators=(",", ":")) + "\n")

    def index(self, kind: str, text: str) -> int:
        """Return the index of a text, writing it first where it is new."""
        known = self.texts[kind]
        if text not in known:
            known[text] = len(known)
            self.line({kind: text})
        return known[text]


def main() -> int:
    """Run the sweep."""
    arguments = _arguments()
    torch.manual_seed(0)
    deadline = time.monotonic() + arguments.minutes * 60
    done = failed = 0
    with gzip.open(arguments.out, "wt", encoding="utf-8") as stream, torch.inference_mode():
        output = Output(stream)
        output.line(_header(arguments.device))
        for group in _groups(arguments.device, arguments.toy, arguments.table):
            if time.monotonic() > deadline:
                print("out of time; the rest is left out", file=sys.stderr)
                output.line({"note": "out of time"})
                break
            try:
                cases = list(group())
                done += _measure(cases, output, arguments.device)
            except Exception as error:  # one group that fails (memory, a missing backend) must not lose the others
                failed += 1
                print(f"a group failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}", file=sys.stderr)
                output.line({"note": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})
            stream.flush()
    print(f"{done} cases, {failed} failures, {arguments.out}", file=sys.stderr)
    return 0 if done else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=4, help="start no group after this")
    parser.add_argument("--toy", action="store_true", help="small shapes, few rows: tries the script out")
    parser.add_argument("--table", choices=("gemm", "reduction", "attention"), help="only this table")
    return parser.parse_args()


def _header(device: str) -> dict[str, Any]:
    header: dict[str, Any] = {"schema": SCHEMA, "torch": torch.__version__, "device": device}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        header |= {
            "gpu": properties.name,
            "sm_count": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return header


# -- what is measured -------------------------------------------------------------------------------------------------


def _groups(device: str, toy: bool, table: str | None) -> Iterator[Callable[[], Iterator[Case]]]:
    """Yield one function per group; it makes the group's tensors, so that only one group's are held at a time."""
    if table in (None, "gemm"):
        for dtype in DTYPES:
            for module in TOY_PROJECTIONS if toy else PROJECTIONS:
                yield lambda module=module, dtype=dtype: _projection(module, dtype, device, toy)
    if table in (None, "reduction"):
        for dtype in ("fp16", "bf16", "fp32"):
            for operation in REDUCTIONS:
                yield lambda operation=operation, dtype=dtype: _reduction(operation, dtype, device, toy)
    if table in (None, "attention"):
        for dtype in ("fp16", "bf16", "fp32"):
            for backend in BACKENDS:
                if dtype != "fp32" or backend in ("default", "efficient", "math"):
                    yield lambda backend=backend, dtype=dtype: _attention(backend, dtype, device, toy)


def _projection(module: str, dtype: str, device: str, toy: bool) -> Iterator[Case]:
    inputs, outputs = (TOY_PROJECTIONS if toy else PROJECTIONS)[module]
    tokens = (1, 2, 3, 8) if toy else TOKENS
    torch.backends.cuda.matmul.allow_tf32 = dtype == "TF32"
    x = _random(max(tokens), inputs, dtype=dtype, device=device)
    weight = _random(outputs, inputs, dtype=dtype, device=device) / inputs**0.5
    for rows in tokens:
        yield Case(
            table="gemm",
            group=f"{module} {dtype}",
            rows=rows,
            run=lambda rows=rows: functional.linear(x[:rows], weight)[0],
        )


def _llama_rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # As transformers writes it: the mean is taken in float32 by its own kernel.
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
    return weight * wide.to(x.dtype)


REDUCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "LlamaRMSNorm": _llama_rms_norm,
    "rms_norm": lambda x, weight: functional.rms_norm(x, (x.shape[-1],), weight),
    "layer_norm": lambda x, weight: functional.layer_norm(x, (x.shape[-1],), weight),
    "softmax": lambda x, weight: torch.softmax(x, -1),
    "sum": lambda x, weight: x.sum(-1, keepdim=True),
    "mean": lambda x, weight: x.mean(-1, keepdim=True),
    "argmax": lambda x, weight: x.argmax(-1, keepdim=True),
    "vocabulary log_softmax": lambda x, weight: torch.log_softmax(x, -1),
    "vocabulary argmax": lambda x, weight: x.argmax(-1, keepdim=True),
}


def _reduction(operation: str, dtype: str, device: str, toy: bool) -> Iterator[Case]:
    width = 64 if toy else VOCABULARY if operation.startswith("vocabulary") else 4096
    lengths = (1, 6) if toy else LENGTHS
    rows_of = sorted(
        {batch * length for batch in BATCHES for length in lengths if batch * length * width <= MAX_ELEMENTS}
    )
    # One row says little where rounding to 16 bits hides most changes of a float32 sum: several rows stand first.
    starts = 1 if operation.startswith("vocabulary") else ROWS_TRIED
    x = _random(max(rows_of) + starts, width, dtype=dtype, device=device)
    weight = _random(width, dtype=dtype, device=device)
    apply = REDUCTIONS[operation]
    for rows in rows_of:
        yield Case(
            table="reduction",
            group=f"{operation} {dtype}",
            rows=rows,
            run=lambda rows=rows: torch.cat([apply(x[first : first + rows], weight)[:1] for first in range(starts)]),
        )


def _attention(backend: str, dtype: str, device: str, toy: bool) -> Iterator[Case]:
    heads, width = (4, 16) if toy else (32, 128)
    batches = (1, 2, 4) if toy else BATCHES
    torch.backends.cuda.matmul.allow_tf32 = False
    for queries, cached in ATTENTION_SIZES[:3] if toy else ATTENTION_SIZES:
        keys = queries + cached
        query = _random(max(batches), heads, queries, width, dtype=dtype, device=device)
        key, value = (_random(max(batches), heads, keys, width, dtype=dtype, device=device) for _ in range(2))
        # Causal over the new tokens alone, as a decoder with a cache asks for it.
        causal = queries > 1 and cached == 0
        mask = None
        if queries > 1 and cached > 0:
            mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(cached)
        for rows in batches:

            def run(rows: int = rows, query=query, key=key, value=value, mask=mask, causal=causal) -> torch.Tensor:
                chosen = BACKENDS[backend]
                with nullcontext() if chosen is None else sdpa_kernel(chosen):
                    return functional.scaled_dot_product_attention(
                        query[:rows], key[:rows], value[:rows], attn_mask=mask, is_causal=causal
                    )[0]

            yield Case(
                table="attention", group=f"{backend} {dtype} queries {queries} cached {cached}", rows=rows, run=run
            )


def _random(*shape: int, dtype: str, device: str) -> torch.Tensor:
    return torch.randn(*shape, device=device, dtype=torch.float32).to(DTYPES[dtype])


# -- how it is measured -----------------------------------------------------------------------------------------------


def _measure(cases: Sequence[Case], output: Output, device: str) -> int:
    """Run the cases of one group under torch's profiler and write them; return how many ran."""
    with suppress(Exception):
        cases[0].run()  # libraries load here, outside the profiler and before their log is sought
    on_gpu = device.startswith("cuda")
    bits: dict[int, str] = {}
    failures: dict[int, str] = {}
    lines: dict[int, list[str]] = {}
    with _profiled(on_gpu) as kernels, _algorithm_log(on_gpu) as log:
        for index, case in enumerate(cases):
            log.clear()
            try:
                with torch.profiler.record_function(f"case {index}"):
                    row = case.run()
                    if on_gpu:
                        torch.cuda.synchronize()  # the kernels end inside their range
                bits[index] = _hash(row)
            except Exception as error:
                failures[index] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            lines[index] = list(log)
    for index, case in enumerate(cases):
        entry: dict[str, Any] = {"table": case.table, "group": case.group, "rows": case.rows}
        if index in failures:
            entry["failed"] = failures[index]
        else:
            entry["bits"] = bits[index]
            entry["kernels"] = [
                [output.index("name", name), *configuration] for name, *configuration in kernels.get(index, [])
            ]
            entry["logs"] = [output.index("log", line) for line in lines[index]]
        output.line(entry)
    return len(bits)


def _hash(row: torch.Tensor) -> str:
    data = row.contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


@contextmanager
def _profiled(on_gpu: bool) -> Iterator[dict[int, list[tuple[Any, ...]]]]:
    """Yield a dict that holds, after the block, the kernels of each `case <index>` range in launch order."""
    result: dict[int, list[tuple[Any, ...]]] = {}
    if not on_gpu:
        yield result
        return
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        yield result
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    result.update(kernels_of_cases(events))


def kernels_of_cases(events: Sequence[dict[str, Any]]) -> dict[int, list[tuple[Any, ...]]]:
    """Return the kernels launched inside each `case <index>` range of a torch profiler trace, in launch order.

    Returns:
        Index of the case → (name, grid, block, registers, shared memory in bytes) of each kernel.
    """
    ranges = sorted(
        (event["ts"], event["ts"] + event["dur"], int(event["name"].removeprefix("case ")))
        for event in events
        if event.get("cat") == "user_annotation" and str(event.get("name", "")).startswith("case ")
    )
    launches = {
        event["args"]["correlation"]: event["ts"]
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in event.get("args", {})
    }
    launched = sorted(
        (
            # Launch calls that the profiler does not know have no event: the kernel's own start is in the range too.
            (launches.get(event["args"].get("correlation"), event["ts"]), event)
            for event in events
            if event.get("cat") == "kernel"
        ),
        key=lambda entry: entry[0],
    )
    result: dict[int, list[tuple[Any, ...]]] = {}
    position = 0
    for time_us, event in launched:
        while position < len(ranges) and ranges[position][1] < time_us:
            position += 1
        if position < len(ranges) and ranges[position][0] <= time_us:
            facts = event["args"]
            shared = facts.get("shared memory", 0)
            kernel = (event["name"], facts["grid"], facts["block"], facts.get("registers per thread", 0), shared)
            result.setdefault(ranges[position][2], []).append(kernel)
    return result


@contextmanager
def _algorithm_log(on_gpu: bool) -> Iterator[list[str]]:
    """Yield a list to which cuBLASLt's log adds one line per matrix product."""
    lines: list[str] = []
    if not on_gpu:
        yield lines
        return
    log = AlgorithmLog(lambda line: lines.append(line) if is_algorithm_log(line) else None, loaded_libraries())
    log.start()
    try:
        yield lines
    finally:
        log.stop()


if __name__ == "__main__":
    sys.exit(main())
