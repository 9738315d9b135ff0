"""Record the small PyTorch profiler traces that tests/trace/data holds.

    python scripts/make_torch_traces.py OUT            on a GPU: torch-gpu-*.json.gz
    python scripts/make_torch_traces.py OUT --cpu      without one: torch-cpu-*.json.gz, operators only

Two decoder blocks of Llama-3-8B's widths with random weights, float16, six tokens, at batch 1 and 2:

    …-ranges-b1, …-ranges-b2   a record_function range per module (dotted path), inside `prefill`
    …-modules-b1, …-modules-b2 no ranges of ours; the Python call stack with nn.Module frames
    …-plain-b1                 neither: operators, launches and kernels alone
    …-graph-b1                 the blocks captured in a CUDA graph inside the ranges, replayed twice (GPU only)
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

HIDDEN, INNER, HEADS, KEY_VALUE_HEADS, BLOCKS, TOKENS = 4096, 14336, 32, 8, 2, 6


class Attention(nn.Module):
    """Grouped-query attention of Llama's shapes, without rotation."""

    def __init__(self, hidden: int, heads: int, key_value_heads: int) -> None:
        super().__init__()
        self.head_dim = hidden // heads
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden, key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend causally."""
        batch, tokens, hidden = x.shape
        q, k, v = (
            p(x).view(batch, tokens, -1, self.head_dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, hidden))


class Mlp(nn.Module):
    """Llama's gated feed-forward."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Gate, multiply, project back."""
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One decoder block."""

    def __init__(self, hidden: int, inner: int, heads: int, key_value_heads: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(hidden)
        self.self_attn = Attention(hidden, heads, key_value_heads)
        self.post_attention_layernorm = nn.RMSNorm(hidden)
        self.mlp = Mlp(hidden, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add attention, then the feed-forward, to the stream."""
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """A stack of blocks."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        sizes = (HIDDEN // scale, INNER // scale, HEADS // scale, max(KEY_VALUE_HEADS // scale, 1))
        self.layers = nn.ModuleList(Block(*sizes) for _ in range(BLOCKS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks."""
        for layer in self.layers:
            x = layer(x)
        return x


def add_ranges(model: nn.Module) -> Callable[[], None]:
    """Open a record_function range named by its path around every module's forward; returns what removes them."""
    open_ranges: list[record_function] = []
    handles = []
    for name, module in model.named_modules(prefix="model"):

        def enter(_module: nn.Module, _inputs: object, name: str = name) -> None:
            open_ranges.append(record_function(name))
            open_ranges[-1].__enter__()

        def leave(_module: nn.Module, _inputs: object, _output: object) -> None:
            open_ranges.pop().__exit__(None, None, None)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    return lambda: [handle.remove() for handle in handles] and None


def record(path: Path, run: Callable[[], object], device: str, **options: bool) -> None:
    """Profile `run` and write a gzipped Chrome trace without what names the machine."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    run()
    with profile(activities=activities, **options) as profiler:
        run()
        if device == "cuda":
            torch.cuda.synchronize()
    raw = path.with_suffix(".tmp")
    profiler.export_chrome_trace(str(raw))
    trace = json.loads(raw.read_text())
    raw.unlink()
    for name in ("host_name", "traceName", "trace_id"):
        trace.pop(name, None)
    for event in trace["traceEvents"]:
        if event.get("cat") == "python_function" and not event["name"].startswith("nn.Module"):
            event["name"] = (
                event["name"].replace(str(Path(torch.__file__).parent), "torch").replace(str(Path.cwd()), ".")
            )
        if event.get("ph") == "M" and event.get("name") == "process_name":
            event["args"]["name"] = "python"
    with gzip.GzipFile(path, "wb", compresslevel=9, mtime=0) as file:
        file.write(json.dumps(trace, separators=(",", ":")).encode())
    print(f"{path}: {path.stat().st_size:,} bytes, {len(trace['traceEvents'])} events")


def main() -> None:
    """Record every trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cpu", action="store_true", help="operators only, and a sixteenth of the widths")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device, kind, dtype, scale = (
        ("cpu", "cpu", torch.float32, 16) if arguments.cpu else ("cuda", "gpu", torch.float16, 1)
    )
    torch.manual_seed(0)
    model = Decoder(scale).to(device, dtype).eval()
    batches = {batch: torch.randn(batch, TOKENS, HIDDEN // scale, device=device, dtype=dtype) for batch in (1, 2)}
    with torch.inference_mode():
        for batch, x in batches.items():
            record(
                arguments.out / f"torch-{kind}-modules-b{batch}.json.gz",
                lambda x=x: model(x),
                device,
                with_stack=True,
                with_modules=True,
            )
        record(arguments.out / f"torch-{kind}-plain-b1.json.gz", lambda: model(batches[1]), device)
        remove = add_ranges(model)

        def prefill(x: torch.Tensor) -> None:
            with record_function("prefill"):
                model(x)

        for batch, x in batches.items():
            record(
                arguments.out / f"torch-{kind}-ranges-b{batch}.json.gz",
                lambda x=x: prefill(x),
                device,
                record_shapes=True,
            )
        if device == "cuda":

            def graphed() -> None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    prefill(batches[1])
                for _ in range(2):
                    with record_function("replay"):
                        graph.replay()
                torch.cuda.synchronize()

            record(arguments.out / "torch-gpu-graph-b1.json.gz", graphed, device)
        remove()


if __name__ == "__main__":
    main()
