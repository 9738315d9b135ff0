"""The matrix products of the wider sweep: layers of real models as [in features, out features], in three parts.

The rules in `tracediff/diff/rules` are written from the *tuning* part. The *held-out* part is for the score alone: no
rule is changed because of a pair in it. The *blind* part was drawn up after the last change of a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = TUNING, HELD_OUT, BLIND = "tuning", "held-out", "blind"

#: Row counts (tokens of a forward): all small ones, then steps, and both sides of powers of two.
ROWS = (
    *range(1, 33), *range(34, 65, 2), 65, *range(68, 129, 4), 129, *range(136, 257, 8), 257, *range(272, 513, 16), 513,
    544, 576, 640, 704, 768, 832, 896, 960, 1024, 1025, 1152, 1280, 1408, 1536, 1664, 1792, 1920, 2047, 2048,
)  # fmt: skip

#: Elements of a row of norms and reductions.
WIDTHS = {TUNING: (4096,), HELD_OUT: (576, 2048, 3072, 8192), BLIND: (768, 5120, 7168)}

#: A vocabulary's logits are taken for few rows: beyond, they cost gigabytes and show nothing new.
MOST_LOGITS = 256 * 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One matrix product y = x Wᵀ of `rows` × k with k × n, and what is unusual about it.

    Attributes:
        part: `tuning`, `held-out` or `blind`.
        name: Model and layer.
        k, n: In features and out features.
        form: `linear`; `bias`; `residual` (y + C); `batched` (x and W of several heads); `strided` (rows of x are cut
            out of wider rows); `untransposed` (W stored as k × n); `transposed input` (x stored as k × rows).
        batch: Products at once, of a batched form.
    """

    part: str
    name: str
    k: int
    n: int
    form: str = "linear"
    batch: int = 1

    @property
    def group(self) -> str:
        """What the sweep's lines call it, without the type."""
        return f"{self.name} {self.form} {self.k}x{self.n}" + (f" batch {self.batch}" if self.batch > 1 else "")


_LINEAR: dict[str, dict[str, dict[str, tuple[int, int]]]] = {
    TUNING: {
        "Llama-3-8B": {
            "q_proj": (4096, 4096),
            "k_proj": (4096, 1024),
            "gate_proj": (4096, 14336),
            "down_proj": (14336, 4096),
            "qkv_proj": (4096, 6144),
            "gate_up_proj": (4096, 28672),
            "lm_head": (4096, 128256),
        },
        "Llama-3.2-1B": {
            "q_proj": (2048, 2048),
            "k_proj": (2048, 512),
            "gate_proj": (2048, 8192),
            "down_proj": (8192, 2048),
            "qkv_proj": (2048, 3072),
            "gate_up_proj": (2048, 16384),
        },
        "Llama-3-70B, one of 8 shards": {
            "q_proj": (8192, 1024),
            "k_proj": (8192, 128),
            "o_proj": (1024, 8192),
            "gate_proj": (8192, 3584),
            "down_proj": (3584, 8192),
            "qkv_proj": (8192, 1280),
            "gate_up_proj": (8192, 7168),
        },
        "Llama-3.2-3B": {
            "q_proj": (3072, 3072),
            "k_proj": (3072, 1024),
            "gate_proj": (3072, 8192),
            "down_proj": (8192, 3072),
            "qkv_proj": (3072, 5120),
            "gate_up_proj": (3072, 16384),
        },
        "Llama-3-70B": {
            "q_proj": (8192, 8192),
            "gate_proj": (8192, 28672),
            "down_proj": (28672, 8192),
            "qkv_proj": (8192, 10240),
        },
        "odd sizes": {"a": (1000, 1000), "b": (4100, 4100), "c": (777, 1536), "d": (768, 50257)},
    },
    HELD_OUT: {
        "Llama-2-7B": {
            "gate_proj": (4096, 11008),
            "down_proj": (11008, 4096),
            "qkv_proj": (4096, 12288),
            "gate_up_proj": (4096, 22016),
        },
        "Llama-2-13B": {"q_proj": (5120, 5120), "gate_proj": (5120, 13824), "down_proj": (13824, 5120)},
        "Mistral-Nemo-12B": {
            "q_proj": (5120, 4096),
            "k_proj": (5120, 1024),
            "o_proj": (4096, 5120),
            "gate_proj": (5120, 14336),
            "down_proj": (14336, 5120),
            "qkv_proj": (5120, 6144),
            "gate_up_proj": (5120, 28672),
        },
        "Gemma-2-9B": {
            "q_proj": (3584, 4096),
            "k_proj": (3584, 2048),
            "o_proj": (4096, 3584),
            "gate_proj": (3584, 14336),
            "down_proj": (14336, 3584),
        },
        "Qwen2.5-72B": {"gate_proj": (8192, 29568), "down_proj": (29568, 8192)},
        "Llama-3.1-405B, one of 8 shards": {
            "q_proj": (16384, 2048),
            "gate_proj": (16384, 6656),
            "down_proj": (6656, 16384),
        },
        "TinyLlama-1.1B": {"k_proj": (2048, 256), "gate_proj": (2048, 5632), "down_proj": (5632, 2048)},
        "StarCoder2-15B": {"q_proj": (6144, 6144), "up_proj": (6144, 24576), "down_proj": (24576, 6144)},
        "Llama-3-8B, one of 8 shards": {
            "q_proj": (4096, 512),
            "k_proj": (4096, 128),
            "o_proj": (512, 4096),
            "gate_proj": (4096, 1792),
            "down_proj": (1792, 4096),
            "qkv_proj": (4096, 768),
            "gate_up_proj": (4096, 3584),
        },
        "Qwen2.5-7B": {
            "q_proj": (3584, 3584),
            "k_proj": (3584, 512),
            "gate_proj": (3584, 18944),
            "down_proj": (18944, 3584),
            "qkv_proj": (3584, 4608),
            "gate_up_proj": (3584, 37888),
        },
        "Qwen2.5-0.5B": {
            "q_proj": (896, 896),
            "k_proj": (896, 128),
            "gate_proj": (896, 4864),
            "down_proj": (4864, 896),
        },
        "SmolLM2-135M": {
            "q_proj": (576, 576),
            "k_proj": (576, 192),
            "gate_proj": (576, 1536),
            "down_proj": (1536, 576),
            "qkv_proj": (576, 960),
            "gate_up_proj": (576, 3072),
            "lm_head": (576, 49152),
        },
        "Gemma-2-2B": {
            "q_proj": (2304, 2048),
            "gate_proj": (2304, 9216),
            "down_proj": (9216, 2304),
            "o_proj": (2048, 2304),
        },
        "odd sizes": {"e": (1001, 1003), "f": (3000, 5000), "g": (2880, 5760), "h": (1280, 51865), "i": (4095, 4097)},
    },
    BLIND: {
        "DeepSeek-V3": {
            "q_a_proj": (7168, 1536),
            "q_b_proj": (1536, 24576),
            "kv_a_proj": (7168, 576),
            "kv_b_proj": (512, 32768),
            "o_proj": (16384, 7168),
            "gate_proj": (7168, 18432),
            "down_proj": (18432, 7168),
            "expert gate_proj": (7168, 2048),
            "expert down_proj": (2048, 7168),
            "router": (7168, 256),
        },
        "Qwen3-8B": {"down_proj": (12288, 4096)},
        "GLM-4-9B": {"gate_proj": (4096, 13696), "down_proj": (13696, 4096)},
        "Qwen3-32B": {"q_proj": (5120, 8192), "o_proj": (8192, 5120), "gate_proj": (5120, 25600)},
        "Qwen3-30B-A3B": {
            "q_proj": (2048, 4096),
            "expert gate_proj": (2048, 768),
            "expert down_proj": (768, 2048),
            "router": (2048, 128),
        },
        "gpt-oss-20b": {"q_proj": (2880, 4096), "k_proj": (2880, 512), "o_proj": (4096, 2880), "router": (2880, 32)},
        "Phi-4": {"qkv_proj": (5120, 7680), "gate_up_proj": (5120, 35840), "down_proj": (17920, 5120)},
        "Gemma-3-27B": {"q_proj": (5376, 4096), "gate_proj": (5376, 21504), "down_proj": (21504, 5376)},
        "GPT-2": {"qkv_proj": (768, 2304), "up_proj": (768, 3072), "down_proj": (3072, 768)},
        "Llama-3.3-70B, one of 4 shards": {
            "qkv_proj": (8192, 2560),
            "k_proj": (8192, 256),
            "gate_up_proj": (8192, 14336),
            "down_proj": (7168, 8192),
        },
        "odd sizes": {"j": (1999, 2001), "k": (6000, 2500), "l": (345, 12345), "m": (11111, 1111), "n": (4104, 4088)},
    },
}

_FORMS: dict[str, tuple[Product, ...]] = {
    TUNING: (
        Product(part=TUNING, name="Llama-3-8B q_proj", k=4096, n=4096, form="bias"),
        Product(part=TUNING, name="Llama-3-8B down_proj", k=14336, n=4096, form="residual"),
        Product(part=TUNING, name="scores of 8 heads", k=128, n=1024, form="batched", batch=8),
        Product(part=TUNING, name="Llama-3-8B o_proj", k=4096, n=4096, form="strided"),
        Product(part=TUNING, name="Llama-3-8B q_proj", k=4096, n=4096, form="untransposed"),
        Product(part=TUNING, name="Llama-3.2-1B q_proj", k=2048, n=2048, form="transposed input"),
        Product(part=TUNING, name="Llama-3.2-3B down_proj", k=8192, n=3072, form="residual"),
        Product(part=TUNING, name="Llama-3.2-3B o_proj", k=3072, n=3072, form="strided"),
        Product(part=TUNING, name="Llama-3.2-3B down_proj", k=8192, n=3072, form="untransposed"),
    ),
    HELD_OUT: (
        Product(part=HELD_OUT, name="Qwen2.5-7B q_proj", k=3584, n=3584, form="bias"),
        Product(part=HELD_OUT, name="Qwen2.5-7B k_proj", k=3584, n=512, form="bias"),
        Product(part=HELD_OUT, name="Gemma-2-9B down_proj", k=14336, n=3584, form="residual"),
        Product(part=HELD_OUT, name="scores of 32 heads", k=128, n=640, form="batched", batch=32),
        Product(part=HELD_OUT, name="values of 24 heads", k=1000, n=128, form="batched", batch=24),
        Product(part=HELD_OUT, name="4 experts", k=2048, n=1408, form="batched", batch=4),
        Product(part=HELD_OUT, name="Mistral-Nemo-12B o_proj", k=4096, n=5120, form="strided"),
        Product(part=HELD_OUT, name="Gemma-2-9B o_proj", k=4096, n=3584, form="untransposed"),
        Product(part=HELD_OUT, name="Qwen2.5-0.5B q_proj", k=896, n=896, form="transposed input"),
    ),
    BLIND: (
        Product(part=BLIND, name="GPT-2 up_proj", k=768, n=3072, form="bias"),
        Product(part=BLIND, name="Phi-4 down_proj", k=17920, n=5120, form="residual"),
        Product(part=BLIND, name="8 experts", k=2048, n=768, form="batched", batch=8),
        Product(part=BLIND, name="values of 16 heads", k=2000, n=128, form="batched", batch=16),
        Product(part=BLIND, name="Qwen3-32B o_proj", k=8192, n=5120, form="strided"),
        Product(part=BLIND, name="GPT-2 down_proj", k=3072, n=768, form="untransposed"),
        Product(part=BLIND, name="gpt-oss-20b q_proj", k=2880, n=4096, form="transposed input"),
    ),
}  # fmt: skip


def products(part: str) -> tuple[Product, ...]:
    """Return one part's products."""
    linear = tuple(
        Product(part=part, name=f"{model} {layer}", k=k, n=n)
        for model, layers in _LINEAR[part].items()
        for layer, (k, n) in layers.items()
    )
    return linear + _FORMS[part]


def rows_of(product: Product) -> tuple[int, ...]:
    """Return the row counts at which a product is taken."""
    return tuple(rows for rows in ROWS if rows * product.n * product.batch <= MOST_LOGITS)
