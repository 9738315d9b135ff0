"""Measure which kernel changes change bits: one row's output at many row counts, with the kernels that made it.

    python scripts/sweep_reduction_order.py --out sweep.jsonl                        on a GPU
    python scripts/sweep_reduction_order.py --out toy.jsonl --toy --device cpu     tries the script out

Every row has the same input at every row count, so its output should have the same bits; where it has not, a kernel
summed in another order. Three tables: matrix products (`scripts/sweep_geometries.py`, in a tuning, a held-out and a
blind part), norms and reductions, attention. For every pair of row counts, `scripts/analyse_sweep.py` compares the
bits with what kernel names, launches and tracediff's rules predict.

The output, which analyse_sweep.py also reads compressed by `xz`, is one JSON object per line: a header; `{"name": …}`
and `{"log": …}`, which later lines refer to by index in order of appearance; and one line per case: table, part, group
(cases of one group are comparable), rows, the kernels as [name, grid, block, registers, shared memory], and the bits.
Of a matrix product they are `prefixes`: [[rows, number], …], where cases of one group with the same number at a row
count have the same bits in all rows up to there; a number holds until the next row count that is listed. Of the
others they are `bits`, a hash (BLAKE2b, 8 bytes) of row 0 alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import product, zip_longest
from pathlib import Path
from typing import Any, TextIO

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parent))

from sweep_geometries import PARTS, TUNING, WIDTHS, Product, products, rows_of

from tracediff.measure.profiled_kernels import RANGE, algorithm_lines, profiled

SCHEMA = 1
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
    """One measurement: `run` returns its output, a tensor that stays on the device.

    Of a matrix product it is every row, else row 0.
    """

    table: str
    group: str
    rows: int
    part: str = TUNING
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
    with arguments.out.open("w", encoding="utf-8") as stream, torch.inference_mode():
        output = Output(stream)
        output.line(_header(arguments.device))
        for group in _groups(arguments.device, arguments.toy, arguments.table, arguments.part):
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
    parser.add_argument("--part", choices=PARTS, help="only this part of the products and norms")
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


def _groups(device: str, toy: bool, table: str | None, part: str | None) -> Iterator[Callable[[], Iterator[Case]]]:
    """Yield one function per group; it makes the group's tensors, so that only one group's are held at a time."""
    if table in (None, "gemm"):
        for shape, dtype in product(TOY_PRODUCTS if toy else _alternating(part), DTYPES):
            yield lambda shape=shape, dtype=dtype: _matrix_product(shape, dtype, device)
    if table in (None, "reduction"):
        for operation, dtype, width, chosen in _reductions(toy, part):
            yield lambda operation=operation, dtype=dtype, width=width, chosen=chosen: _reduction(
                operation, dtype, width, chosen, device
            )
    if table in (None, "attention"):
        for dtype in ("fp16", "bf16", "fp32"):
            for backend in BACKENDS:
                if dtype != "fp32" or backend in ("default", "efficient", "math"):
                    yield lambda backend=backend, dtype=dtype: _attention(backend, dtype, device, toy)


def _alternating(part: str | None) -> list[Product]:
    """Return the products of all parts in turn, so that a sweep that runs out of time has some of each."""
    if part is not None:
        return list(products(part))
    in_turn = zip_longest(*map(products, PARTS))
    return [shape for some in in_turn for shape in some if shape is not None]


def _matrix_product(shape: Product, dtype: str, device: str) -> Iterator[Case]:
    torch.backends.cuda.matmul.allow_tf32 = dtype == "TF32"
    row_counts = rows_of(shape)
    multiply = FORMS[shape.form](shape, max(row_counts), dtype, device)
    for rows in row_counts:
        yield Case(
            table="gemm",
            part=shape.part,
            group=f"{shape.group} {dtype}",
            rows=rows,
            run=lambda rows=rows: multiply(rows),
        )


Multiply = Callable[[int], torch.Tensor]


def _linear(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    x = _random(most, shape.k, dtype=dtype, device=device)
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device)
    return lambda rows: functional.linear(x[:rows], weight)


def _bias(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    x = _random(most, shape.k, dtype=dtype, device=device)
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device)
    bias = _random(shape.n, dtype=dtype, device=device)
    return lambda rows: functional.linear(x[:rows], weight, bias)


def _residual(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    x = _random(most, shape.k, dtype=dtype, device=device)
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device)
    added = _random(most, shape.n, dtype=dtype, device=device)
    return lambda rows: torch.addmm(added[:rows], x[:rows], weight.t())


def _batched(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    x = _random(shape.batch, most, shape.k, dtype=dtype, device=device)
    weight = _weight(shape.batch, shape.n, shape.k, dtype=dtype, device=device)
    return lambda rows: torch.bmm(x[:, :rows], weight.transpose(1, 2))[0]


def _strided(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    wide = _random(most, 3 * shape.k, dtype=dtype, device=device)
    x = wide[:, shape.k : 2 * shape.k]
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device)
    return lambda rows: functional.linear(x[:rows], weight)


def _untransposed(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    x = _random(most, shape.k, dtype=dtype, device=device)
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device).t().contiguous()
    return lambda rows: torch.mm(x[:rows], weight)


def _transposed_input(shape: Product, most: int, dtype: str, device: str) -> Multiply:
    columns = _random(shape.k, most, dtype=dtype, device=device)
    weight = _weight(shape.n, shape.k, dtype=dtype, device=device)
    return lambda rows: functional.linear(columns[:, :rows].t(), weight)


FORMS: dict[str, Callable[[Product, int, str, str], Multiply]] = {
    "linear": _linear,
    "bias": _bias,
    "residual": _residual,
    "batched": _batched,
    "strided": _strided,
    "untransposed": _untransposed,
    "transposed input": _transposed_input,
}
TOY_PRODUCTS = tuple(
    Product(part=TUNING, name="toy", k=64, n=96, form=form, batch=2 if form == "batched" else 1) for form in FORMS
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


def _reductions(toy: bool, part: str | None) -> Iterator[tuple[str, str, int, str]]:
    """Yield operation, type, elements of a row, part."""
    for chosen in PARTS if part is None else (part,):
        for width, dtype, operation in product((64,) if toy else WIDTHS[chosen], ("fp16", "bf16", "fp32"), REDUCTIONS):
            if not operation.startswith("vocabulary"):
                yield operation, dtype, width, chosen
            elif chosen == TUNING:
                yield operation, dtype, 64 if toy else VOCABULARY, chosen


def _reduction(operation: str, dtype: str, width: int, part: str, device: str) -> Iterator[Case]:
    lengths = LENGTHS if width > 64 else (1, 6)
    row_counts = sorted(
        {batch * length for batch in BATCHES for length in lengths if batch * length * width <= MAX_ELEMENTS}
    )
    # One row says little where rounding to 16 bits hides most changes of a float32 sum: several rows stand first.
    starts = 1 if operation.startswith("vocabulary") else ROWS_TRIED if part == TUNING else 2
    x = _random(max(row_counts) + starts, width, dtype=dtype, device=device)
    weight = _random(width, dtype=dtype, device=device)
    apply = REDUCTIONS[operation]
    for rows in row_counts:
        yield Case(
            table="reduction",
            part=part,
            group=f"{operation} {dtype}" if part == TUNING else f"{operation} {dtype} width {width}",
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


def _weight(*shape: int, dtype: str, device: str) -> torch.Tensor:
    return _random(*shape, dtype=dtype, device=device) / shape[-1] ** 0.5


def _random(*shape: int, dtype: str, device: str) -> torch.Tensor:
    return torch.randn(*shape, device=device, dtype=torch.float32).to(DTYPES[dtype])


# -- how it is measured -----------------------------------------------------------------------------------------------


def _measure(cases: Sequence[Case], output: Output, device: str) -> int:
    """Run the cases of one group under torch's profiler and write them; return how many ran."""
    with suppress(Exception):
        cases[0].run()  # libraries load here, outside the profiler and before their log is sought
    on_gpu = device.startswith("cuda")
    bits: dict[int, str | list[int]] = {}
    failures: dict[int, str] = {}
    lines: dict[int, list[str]] = {}
    with profiled(on_gpu) as kernels, algorithm_lines(on_gpu) as log:
        for index, case in enumerate(cases):
            log.clear()
            try:
                with torch.profiler.record_function(f"{RANGE}{index}"):
                    result = case.run()
                    if on_gpu:
                        torch.cuda.synchronize()  # the kernels end inside their range
                bits[index] = (
                    _prefixes(result, [each.rows for each in cases]) if case.table == "gemm" else _hash(result)
                )
            except Exception as error:
                failures[index] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            lines[index] = list(log)
    numbers: dict[int, dict[int, int]] = {}
    for index, case in enumerate(cases):
        entry: dict[str, Any] = {"table": case.table, "part": case.part, "group": case.group, "rows": case.rows}
        if index in failures:
            entry["failed"] = failures[index]
        else:
            entry |= _bits_entry(bits[index], [each.rows for each in cases], numbers)
            entry["kernels"] = [
                [output.index("name", name), *configuration]
                for name, *configuration in map(_facts, kernels.get(str(index), []))
            ]
            entry["logs"] = [output.index("log", line) for line in lines[index]]
        output.line(entry)
    return len(bits)


def _bits_entry(
    bits: str | list[int], row_counts: list[int], numbers: dict[int, dict[int, int]]
) -> dict[str, str | list[list[int]]]:
    """Return what a line says of a case's bits; hashes of prefixes become small numbers, counted per row count."""
    if isinstance(bits, str):
        return {"bits": bits}
    prefixes: list[list[int]] = []
    for rows, prefix in zip(row_counts, bits, strict=False):
        known = numbers.setdefault(rows, {})
        number = known.setdefault(prefix, len(known))
        if not prefixes or prefixes[-1][1] != number:
            prefixes.append([rows, number])
    return {"prefixes": prefixes}


def _prefixes(output: torch.Tensor, row_counts: Sequence[int]) -> list[int]:
    """Return a hash of the first 1, 2, … rows, at each row count that the output has.

    Bits as integers, times random odd numbers, added modulo 2^64: exact, whatever the order.
    """
    integers = output.contiguous().view(torch.int16 if output.element_size() == 2 else torch.int32)
    generator = torch.Generator(device="cpu").manual_seed(1)
    columns, rows = (
        torch.randint(-(2**62), 2**62, (size,), generator=generator).mul_(2).add_(1).to(output.device)
        for size in reversed(integers.shape)
    )
    sums = ((integers.to(torch.int64) * columns).sum(1) * rows).cumsum(0)
    return [int(value) for value in sums[[count - 1 for count in row_counts if count <= len(sums)]].tolist()]


def _hash(row: torch.Tensor) -> str:
    data = row.contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _facts(event: dict[str, Any]) -> tuple[Any, ...]:
    """Return a kernel's name, grid, block, registers and shared memory in bytes."""
    facts = event["args"]
    shared = facts.get("shared memory", 0)
    return event["name"], facts["grid"], facts["block"], facts.get("registers per thread", 0), shared


if __name__ == "__main__":
    sys.exit(main())
