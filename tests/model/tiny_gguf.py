"""Writes a GGUF file with the tiny preset's geometry and a byte tokenizer: what a test loads instead of a real one."""

import numpy as np

from tracediff.model.presets import PRESETS


def write_gguf(path, chat_template=None):
    """Write the file, its two-dimensional tensors quantised to Q4_1."""
    import gguf

    tiny = PRESETS["tiny"]
    hidden, layers, vocabulary = tiny["hidden_size"], tiny["num_hidden_layers"], tiny["vocab_size"]
    key_value = hidden // tiny["num_attention_heads"] * tiny["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny Bytes")
    writer.add_context_length(tiny["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(tiny["intermediate_size"])
    writer.add_head_count(tiny["num_attention_heads"])
    writer.add_head_count_kv(tiny["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(tiny["rms_norm_eps"])
    writer.add_rope_freq_base(tiny["rope_theta"])
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(_byte_tokens())
    writer.add_token_types([gguf.TokenType.NORMAL] * vocabulary)
    writer.add_token_merges(["a b", "a b"])  # transformers before 5.24 reads an array of one as a text
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    generator = np.random.default_rng(0)

    def add(name, *shape):
        values = generator.normal(0, 0.05, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values + 1)
        else:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)

    add("token_embd.weight", vocabulary, hidden)
    add("output.weight", vocabulary, hidden)
    add("output_norm.weight", hidden)
    for layer in range(layers):
        add(f"blk.{layer}.attn_norm.weight", hidden)
        add(f"blk.{layer}.ffn_norm.weight", hidden)
        for name, rows, columns in (
            ("attn_q", hidden, hidden),
            ("attn_k", key_value, hidden),
            ("attn_v", key_value, hidden),
            ("attn_output", hidden, hidden),
            ("ffn_gate", tiny["intermediate_size"], hidden),
            ("ffn_up", tiny["intermediate_size"], hidden),
            ("ffn_down", hidden, tiny["intermediate_size"]),
        ):
            add(f"blk.{layer}.{name}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_tokens():
    """Return the byte tokens in the spelling of byte-level BPE; the last one makes room for the one merge."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, spare = {}, 256
    for byte in range(256):
        names[byte] = chr(byte) if byte in plain else chr(spare)
        spare += byte not in plain
    return [*(names[byte] for byte in range(255)), "ab"]
