"""The ranges of one block of the tiny model, in the order in which they open."""

PHASES = ["prefill", "decode[0]"]
MODULES = [
    "model",
    "model.embed_tokens",
    "model.rotary_emb",
    "model.layers.0",
    "model.layers.0.input_layernorm",
    "model.layers.0.self_attn",
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.k_proj",
    "model.layers.0.self_attn.v_proj",
    "model.layers.0.self_attn.o_proj",
    "model.layers.0.post_attention_layernorm",
    "model.layers.0.mlp",
    "model.layers.0.mlp.gate_proj",
    "model.layers.0.mlp.act_fn",
    "model.layers.0.mlp.up_proj",
    "model.layers.0.mlp.down_proj",
    "model.norm",
    "lm_head",
]
