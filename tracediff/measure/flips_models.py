"""The models of a flip search: one at a time, in each of its dtypes. Imports torch in functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

if TYPE_CHECKING:
    from tracediff.measure.flips import FlipRequest


@dataclass(slots=True, kw_only=True)
class Models:
    """Holds one model at a time, and its float32 copy where one is asked for.

    A GGUF file that is searched in several dtypes is dequantised once, into the host's memory.

    Attributes:
        request: What is searched.
        load: Loads a model onto a device.
        dtype, model: The model that is held, and its dtype; None before the first.
        exact: Its float32 copy.
        dequantised: What a GGUF file holds, in float32 on the CPU.
    """

    request: FlipRequest
    load: Callable[[ModelSpec, str], Any]
    dtype: str | None = None
    model: Any = None
    exact: Any = None
    dequantised: Any = None

    def get(self, dtype: str) -> Any:
        """Return the model in a dtype, loaded where another one was held."""
        if dtype != self.dtype:
            self.model = self.exact = None
            _free_memory()
            self.model = self._loaded(dtype)
            self.dtype = dtype
        return self.model

    def _loaded(self, dtype: str) -> Any:
        spec = self.request.spec
        if not spec.is_gguf or len(set(self.request.dtypes)) == 1:
            return self.load(replace(spec, dtype=dtype), self.request.device)
        if self.dequantised is None:
            self.dequantised = self.load(replace(spec, dtype="float32"), "cpu")
        if _keeps_some_in_float32(self.dequantised):
            return self.load(replace(spec, dtype=dtype), self.request.device)
        return in_dtype(self.dequantised, dtype).to(self.request.device)

    def reference(self, dtype: str) -> Any:
        """Return the same weights in float32; None for a float32 model or where no reference is wanted."""
        if dtype == "float32" or not self.request.reference:
            return None
        if self.exact is None:
            with memory_in_one_line(self.request, f"{dtype} with its float32 reference"):
                # `.float()` is refused by what was loaded from a GGUF file.
                self.exact = in_dtype(self.get(dtype), "float32")
        return self.exact


def in_dtype(model: Any, dtype: str) -> Any:
    """Return a copy of a model as it is when loaded in another dtype: its buffers are in float32."""
    import copy  # noqa: PLC0415

    import torch  # noqa: PLC0415

    cast = copy.deepcopy(model)
    for parameter in cast.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))
    for buffer in cast.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()
    return cast


def _keeps_some_in_float32(model: Any) -> bool:
    """Return whether transformers leaves some weights of this model in float32 in every dtype."""
    names = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    return any(getattr(model, name, None) for name in names)


def _free_memory() -> None:
    import gc  # noqa: PLC0415

    import torch  # noqa: PLC0415

    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def memory_in_one_line(request: FlipRequest, what: str) -> Iterator[None]:
    """Turn a GPU that is out of memory into one line that says what to do."""
    import torch  # noqa: PLC0415

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TracediffError(
            f"out of memory: {request.spec.label} in {what}, batches {', '.join(map(str, request.batches))}",
            "use --layers, a smaller model or batch, or --no-reference",
        ) from error
