"""What recording costs: the same generation bare, under plain nsys, with module ranges of its own, and under `record`.

    python scripts/measure_record_overhead.py --nsys NSYS --rounds 5 --out overhead.json

The program is a Llama of 1B widths (random weights) that generates 32 tokens, eagerly: small enough that the CPU, not
the GPU, sets the pace, so every microsecond per module call shows. It times its own generations. Recordings alternate,
so that drift of the machine reaches all of them alike; those of one round start together, and a lock lets one at a time
compute, so that imports and exports do not count.

`hooks` is what people do by hand: `torch.cuda.nvtx` ranges pushed by hooks on every module, under plain nsys.
"""

import argparse
import fcntl
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BATCHES = (1, 8)
PROMPT, NEW = 20, 32
#: Generations of each batch size; the first warms up (and is what cuBLASLt's log slows down under `record`).
GENERATIONS = 5
_PLAIN = ("-t", "cuda,nvtx", "--cuda-graph-trace=node", "--sample=none", "--cpuctxsw=none", "--force-overwrite=true")
_RECORD_OPTIONS = {
    "record": (),
    "record --ranges blocks": ("--ranges", "blocks"),
    "record --no-algorithm-log": ("--no-algorithm-log",),
    "record --ranges none": ("--ranges", "none"),
}
MODES = ("bare", "nsys", "nsys hooks", *_RECORD_OPTIONS)


def main() -> None:
    """Measure all modes, or run the program that they measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nsys", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--together", type=int, default=3, help="how many recordings of a round run at once")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.out.suffix == ".times":
        generate(given.blocks, given.device, given.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(given, Path(folder))


def measure(given: argparse.Namespace, folder: Path) -> None:
    """Write seconds per generation of every round, by mode and batch size, and what the kernels took."""
    times: dict[str, dict[str, list[list[float]]]] = {mode: {} for mode in given.modes}
    kernels: dict[str, tuple[int, int]] = {}
    with ThreadPoolExecutor(given.together) as pool:
        for number in range(given.rounds):
            # Another mode begins each round.
            shift = number % len(given.modes)
            modes = [*given.modes[shift:], *given.modes[:shift]]
            runs = [pool.submit(run, mode, given, folder / f"{number}{mode.replace(' ', '')}") for mode in modes]
            for mode, measured, launched in (each.result() for each in runs):
                for batch, seconds in measured.items():
                    times[mode].setdefault(batch, []).append(seconds)
                if launched is not None:
                    kernels[mode] = launched
            given.out.write_text(json.dumps({"times": times, "kernels_and_ns": kernels}, indent=1) + "\n")
            print(table(times), flush=True)


def run(
    mode: str, given: argparse.Namespace, folder: Path
) -> tuple[str, dict[str, list[float]], tuple[int, int] | None]:
    """Run the program once; return its times, and how many kernels the trace holds and their ns together."""
    timed = folder.with_suffix(".times")
    program = [sys.executable, __file__, "--nsys", given.nsys, "--blocks", str(given.blocks)]
    program += ["--device", given.device, "--out", timed]
    environment = {**os.environ, "LOCK": str(folder.parent / "lock"), "HOOKS": "1" if mode == "nsys hooks" else ""}
    trace = folder / "trace.sqlite"
    if mode in _RECORD_OPTIONS:
        options = [*_RECORD_OPTIONS[mode], "--nsys", given.nsys, "--out", trace.parent]
        command = [sys.executable, "-m", "tracediff", "record", *options, "--", *program]
    elif mode == "bare":
        command = program
    else:
        trace.parent.mkdir()
        command = [given.nsys, "profile", *_PLAIN, "--export=sqlite", "-o", trace.with_suffix(""), *program]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if not timed.exists():
        raise SystemExit(f"{mode}: {done.stdout.decode(errors='replace')[-2000:]}")
    launched = _kernels(trace) if trace.exists() else None
    for left in trace.parent.glob("*"):
        left.unlink()
    return mode, json.loads(timed.read_text()), launched


def _kernels(trace: Path) -> tuple[int, int] | None:
    with sqlite3.connect(trace) as connection:
        try:
            return connection.execute("SELECT COUNT(*), SUM(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()
        except sqlite3.OperationalError:  # recorded without a GPU
            return None


def table(times: dict[str, dict[str, list[list[float]]]]) -> str:
    """Return the median of each mode, and how it compares with plain nsys, as a Markdown table."""
    lines = ["| | batch | ms per token | against plain nsys | first generation |", "| --- | --- | --- | --- | --- |"]
    for batch in map(str, BATCHES):
        plain = _median(times.get("nsys", {}).get(batch, []))
        for mode, measured in times.items():
            if batch in measured:
                mine = _median(measured[batch])
                first = statistics.median(each[0] for each in measured[batch])
                lines.append(
                    f"| {mode} | {batch} | {mine / NEW * 1e3:.2f} | {mine / plain - 1:+.1%} | {first / NEW * 1e3:.2f} |"
                )
    return "\n".join(lines)


def _median(rounds: Iterable[list[float]]) -> float:
    return statistics.median([seconds for each in rounds for seconds in each[1:]] or [float("nan")])


def generate(blocks: int, device: str, out: Path) -> None:
    """Generate at each batch size and write the seconds of every generation."""
    import torch  # noqa: PLC0415 -- only the program computes
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    small = device == "cpu"
    config = LlamaConfig(
        hidden_size=64 if small else 2048,
        intermediate_size=128 if small else 8192,
        num_hidden_layers=blocks,
        num_attention_heads=4 if small else 32,
        num_key_value_heads=4 if small else 8,
        vocab_size=1000 if small else 128256,
    )
    times: dict[int, list[float]] = {}
    with Path(os.environ["LOCK"]).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with torch.device(device):
            model = LlamaForCausalLM._from_config(config, dtype=torch.float32 if small else torch.float16).eval()
        if os.environ["HOOKS"]:
            _push_ranges(model, torch.cuda.nvtx)
        for batch in BATCHES:
            prompt = torch.zeros(batch, PROMPT, dtype=torch.int64, device=device)
            times[batch] = [_seconds(model, prompt, torch) for _ in range(GENERATIONS)]
        fcntl.flock(lock, fcntl.LOCK_UN)
    out.write_text(json.dumps(times))


def _seconds(model: Any, prompt: Any, torch: Any) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(prompt, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
    if prompt.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _push_ranges(model: Any, nvtx: Any) -> None:
    def push_and_pop(name: str, module: Any) -> None:
        module.register_forward_pre_hook(lambda *_: nvtx.range_push(name) and None)
        module.register_forward_hook(lambda *_: nvtx.range_pop() and None)

    for name, module in model.named_modules():
        push_and_pop(name or "model", module)


if __name__ == "__main__":
    main()
