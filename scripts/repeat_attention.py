"""Count the bit patterns that attention gives on one input: one query against cached keys, as in a decode step.

    python scripts/repeat_attention.py                                      on a GPU, a minute
    python scripts/repeat_attention.py --device cpu --keys 9 --batches 1 2 --repeats 3    tries the script out

More than one pattern is a difference from run to run: nothing but the run changes. Attention is torch's default
`scaled_dot_product_attention`, with the heads of Llama-3-8B (32 of 128).
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch.nn.functional import scaled_dot_product_attention

from tracediff.model.logits_hashes import hash_of

HEADS, HEAD_DIM = 32, 128
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def patterns(dtype: torch.dtype, keys: int, batch: int, repeats: int, device: str) -> int:
    """Return how many distinct outputs as many runs on the same input give.

    The query has shape (batch, heads, 1, head dimension), keys and values (batch, heads, keys, head dimension).
    """
    generator = torch.Generator(device).manual_seed(0)
    query, key, value = (
        torch.randn(batch, HEADS, length, HEAD_DIM, generator=generator, device=device, dtype=dtype)
        for length in (1, keys, keys)
    )
    return len({hash_of(scaled_dot_product_attention(query, key, value)) for _ in range(repeats)})


def main() -> int:
    """Print a table: one line per dtype and number of keys, one column per batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--keys", type=int, nargs="+", default=[251, 501, 1001])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 6, 8, 24, 64])
    parser.add_argument(
        "--dtypes", nargs="+", default=["float16", "bfloat16"], choices=("float16", "bfloat16", "float32")
    )
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    print(f"{where}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print(f"distinct outputs of {arguments.repeats} runs on one input\n")
    print(f"| dtype | keys | {' | '.join(f'batch {batch}' for batch in arguments.batches)} |")
    print(f"|---|---:|{'---:|' * len(arguments.batches)}")
    for dtype in arguments.dtypes:
        for keys in arguments.keys:
            counts = [
                patterns(DTYPES[dtype], keys, batch, arguments.repeats, arguments.device) for batch in arguments.batches
            ]
            print(f"| {dtype} | {keys} | {' | '.join(map(str, counts))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
