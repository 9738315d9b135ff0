"""The names of the files that measuring leaves beside the traces."""

EVIDENCE_FILE = "evidence.json"
LOGITS_FILE = "logits.safetensors"
ACTIVATIONS_FILE = "activations.safetensors"
