"""The names of the files that measuring leaves beside the traces."""

EVIDENCE_FILE = "evidence.json"
LOGITS_FILE = "logits.safetensors"
ACTIVATIONS_FILE = "activations.safetensors"
#: The tokens that flipped in the captured run, in the format of a flip search.
CAPTURED_FLIPS_FILE = "captured_flips.json"
