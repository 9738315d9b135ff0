"""Does generation repeat itself? Run prompts twice at each batch size and count steps whose logits or tokens differ.

    python scripts/repeat_generation.py --model DIR --prompts prompts.jsonl --dtype float16 --batch 1 8 32 --out FILE

Every run of a prompt is fed what its first run at the smallest batch size chose. Rows are copies of the prompt, and the
cache grows, as in transformers' own generation: attention kernels see another number of keys at every step.
"""

import argparse
import json
from pathlib import Path

import torch

from tracediff.findings.flips_summary import wilson_interval
from tracediff.measure.flips import machine
from tracediff.measure.generation import bits_of, run_generate
from tracediff.measure.prompts import read_prompts
from tracediff.model.load import load_model, load_tokenizer, prompt_tokens
from tracediff.model.spec import ModelSpec


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--attention", nargs="+", default=["sdpa"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--least-tokens", type=int, default=0)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [row for attention in given.attention for row in _rows(given, attention)]
    given.out.write_text(json.dumps({"machine": machine(given.device), "rows": rows}, indent=1) + "\n")


def _rows(given: argparse.Namespace, attention: str) -> list[dict[str, object]]:
    spec = ModelSpec(name=given.model, dtype=given.dtype, attention=attention)
    model, tokenizer = load_model(spec, given.device), load_tokenizer(spec)
    texts = [prompt.text for prompt in read_prompts(given.prompts)]
    encoded = [prompt_tokens(spec, model, text=text, tokenizer=tokenizer) for text in texts]
    prompts = [tokens for tokens in encoded if tokens.shape[1] >= given.least_tokens][: given.limit]
    counts = {batch: [0, 0, 0] for batch in given.batch}
    for tokens in prompts:
        fed = run_generate(model, tokens, given.batch[0], given.decode).fed
        for batch in given.batch:
            first, second = (run_generate(model, tokens, batch, given.decode, fed).logits for _ in range(2))
            counts[batch][0] += len(first)
            counts[batch][1] += int((bits_of(first) != bits_of(second)).any(dim=-1).sum())
            counts[batch][2] += int((first.argmax(dim=-1) != second.argmax(dim=-1)).sum())
    lengths = [int(tokens.shape[1]) for tokens in prompts]
    return [
        {
            "model": spec.label,
            "dtype": spec.dtype,
            "attention": attention,
            "batch": batch,
            "prompts": len(prompts),
            "tokens": [min(lengths), max(lengths)],
            "steps": steps,
            "other_logits": logits,
            "other_tokens": flips,
            "interval": wilson_interval(flips, steps),
        }
        for batch, (steps, logits, flips) in counts.items()
    ]


if __name__ == "__main__":
    with torch.inference_mode():
        main()
