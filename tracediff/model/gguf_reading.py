"""Let transformers read a GGUF file once: its parts ask for the same parse again and again, which takes most of a load.

transformers parses the whole file, vocabulary included, for the configuration, for the weights and for the tokenizer,
and makes the map of tensor names once for every module of the model. Both depend on their arguments alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from tracediff.model.spec import ModelSpec

# What transformers imports from gguf each time it calls it.
_ASKED_AGAIN = ("GGUFReader", "get_tensor_name_map")


@contextmanager
def gguf_read_once(spec: ModelSpec) -> Iterator[None]:
    """Keep what is parsed of a GGUF file until the outermost of these contexts ends; other models load as ever."""
    if not spec.is_gguf or find_spec("gguf") is None:
        yield
        return
    import gguf  # noqa: PLC0415 -- only who reads such a file needs it

    plain = {name: getattr(gguf, name) for name in _ASKED_AGAIN}
    if any(hasattr(found, "cache_info") for found in plain.values()):  # inside another of these contexts
        yield
        return
    for name, found in plain.items():
        setattr(gguf, name, cache(found))
    try:
        yield
    finally:
        for name, found in plain.items():
            setattr(gguf, name, found)
