"""Tokens per second of vLLM, and whether the logprobs of one prompt keep their bits, at 1, 8, 32 and 64 requests.

    python scripts/vllm_invariance.py default.json
    VLLM_BATCH_INVARIANT=1 python scripts/vllm_invariance.py invariant.json

A Llama of 1B widths with 16 blocks, bf16, CUDA graphs, random weights of unit scale (seeded). Row 0 is the same prompt
at every number of requests. Seen with vLLM 0.20.0; the results are in docs/vllm-batch-invariant.md.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # the weights are set in this process
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from vllm import LLM, SamplingParams

REQUESTS = (1, 8, 32, 64)
PROMPT, NEW, COMPARED, RUNS = 40, 128, 32, 3
CONFIG = {
    **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"},
    **{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128256},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True},
    **{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu"},
    **{"bos_token_id": 1, "eos_token_id": 2},
}


def load(folder: Path) -> LLM:
    """Make the model; vLLM's dummy weights are so small that every token is as likely, so they are replaced."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    llm = LLM(
        **{"model": str(folder), "load_format": "dummy", "skip_tokenizer_init": True, "dtype": "bfloat16", "seed": 0},
        **{"max_model_len": 1024, "max_num_seqs": REQUESTS[-1], "kv_cache_memory_bytes": 4 << 30},
        **{"enable_prefix_caching": False, "disable_log_stats": True},
        compilation_config={"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64]},
    )
    llm.apply_model(set_weights)
    return llm


def set_weights(model: torch.nn.Module) -> None:
    """Draw matrices with a standard deviation of 1/√columns, and set norms to one."""
    generator = torch.Generator("cuda").manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, weight.shape[-1] ** -0.5, generator=generator)
            else:
                weight.fill_(1)


def run(llm: LLM, requests: int, new: int, logprobs: int | None = None) -> tuple[float, Any]:
    """Generate `new` tokens for each request; return the seconds it took, and row 0's output."""
    tokens = torch.randint(10, 128000, (requests, PROMPT), generator=torch.Generator().manual_seed(0))
    tokens[0] = torch.randint(10, 128000, (PROMPT,), generator=torch.Generator().manual_seed(7))
    prompts = [{"prompt_token_ids": row.tolist()} for row in tokens]
    settings = {"temperature": 0, "max_tokens": new, "min_tokens": new, "ignore_eos": True, "detokenize": False}
    torch.cuda.synchronize()
    began = time.perf_counter()
    outputs = llm.generate(prompts, SamplingParams(logprobs=logprobs, **settings), use_tqdm=False)
    torch.cuda.synchronize()
    return time.perf_counter() - began, outputs[0].outputs[0]


def measure(llm: LLM) -> dict[str, Any]:
    """Return tokens per second, and how many steps of row 0 have the logprobs they have alone."""
    speed, rows = {}, {}
    for requests in REQUESTS:
        run(llm, requests, 16)
        seconds = [run(llm, requests, NEW)[0] for _ in range(RUNS)]
        speed[requests] = requests * NEW / statistics.median(seconds)
        output = run(llm, requests, COMPARED, logprobs=5)[1]
        rows[requests] = [[(token, each.logprob) for token, each in step.items()] for step in output.logprobs]
    alone = rows[REQUESTS[0]]
    equal = {requests: sum(a == b for a, b in zip(alone, row, strict=True)) for requests, row in rows.items()}
    return {
        "gpu": torch.cuda.get_device_name(),
        "invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0"),
        "tokens_per_second": speed,
        "steps": COMPARED,
        "steps_with_equal_logprobs": equal,
    }


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(load(Path(folder)))
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
