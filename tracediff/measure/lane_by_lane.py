"""Run a model over the rows of several batches at once with the bits that each batch alone would get.

Only operations that sum can depend on the size of the batch: matrix products, attention, norms. They run once for each
*lane*, the rows that stand for one batch. What works element by element or only moves numbers runs once for the rows of
all lanes, which leaves a quarter of the kernels: decoding one row at a time is bound by their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
# Operations that sum, and the places of their arguments that hold rows.
_SUMS: dict[Any, tuple[int, ...]] = {
    _ATEN.linear: (0,),
    _ATEN.mm: (0,),
    _ATEN.addmm: (1,),
    _ATEN.bmm: (0, 1),
    _ATEN.matmul: (0, 1),
    _ATEN.scaled_dot_product_attention: (0, 1, 2, 3),
    _ATEN.softmax: (0,),
    _ATEN.sum: (0,),
    _ATEN.mean: (0,),
    _ATEN.var: (0,),
    _ATEN.var_mean: (0,),
    _ATEN.linalg_vector_norm: (0,),
    _ATEN.rms_norm: (0,),
    _ATEN.layer_norm: (0,),
}
# Operations that make, move or choose numbers and compute none. torch tags the element-wise ones itself.
_MOVES = {
    _ATEN.arange,
    _ATEN.argmax,
    _ATEN.cat,
    _ATEN.clone,
    _ATEN.contiguous,
    _ATEN.copy_,
    _ATEN.detach_,
    _ATEN._to_copy,
    _ATEN.embedding,
    _ATEN.empty,
    _ATEN.empty_like,
    _ATEN.full,
    _ATEN.full_like,
    _ATEN.gather,
    _ATEN.index,
    _ATEN.index_copy_,
    _ATEN.index_put_,
    _ATEN.index_select,
    _ATEN.ones,
    _ATEN.repeat,
    _ATEN.scalar_tensor,
    _ATEN.stack,
    _ATEN.zeros,
    _ATEN.zeros_like,
}


class NotByLaneError(Exception):
    """The model has an operation of which this file does not know whether rows may share it."""


class LaneByLane(TorchDispatchMode):  # type: ignore[misc]
    """Computes sums lane by lane, and everything else for all rows at once.

    Args:
        rows: Rows of all lanes, the first dimension of what the model works on.
        lanes: Into how many batches of equal size the rows are split, in their order.
        streams: CUDA streams that the lanes take turns on; none: all run on the current stream.

    Raises:
        NotByLaneError: From any operation that is not known.
    """

    def __init__(self, rows: int, lanes: int, streams: Sequence[torch.cuda.Stream] = ()) -> None:
        super().__init__()
        self._rows, self._lanes, self._streams = rows, lanes, streams

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.is_view or torch.Tag.pointwise in func.tags or func.overloadpacket in _MOVES:
            return func(*args, **kwargs)
        places = _SUMS.get(func.overloadpacket)
        if places is not None:
            return self._each_lane(func, places, args, kwargs)
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is NotImplemented:
            raise NotByLaneError(str(func))
        return parts

    def _each_lane(self, func: Any, places: tuple[int, ...], args: Any, kwargs: Any) -> torch.Tensor:
        if len(args[places[0]]) == 1:  # no row of a batch in it: the positions that all rows share
            return func(*args, **kwargs)
        split = [
            self._split(func, value, may_share=place != places[0])
            if place in places and isinstance(value, torch.Tensor)
            else [value] * self._lanes
            for place, value in enumerate(args)
        ]
        found: list[torch.Tensor] = []
        with beside(self._streams):
            for lane, of_lane in enumerate(zip(*split, strict=True)):
                with torch.cuda.stream(self._streams[lane % len(self._streams)] if self._streams else None):
                    found.append(func(*of_lane, **kwargs))
        if any(len(part) * self._lanes != self._rows for part in found):
            raise NotByLaneError(f"{func} mixes rows")
        return torch.cat(found)

    def _split(self, func: Any, value: torch.Tensor, *, may_share: bool) -> Sequence[torch.Tensor]:
        if len(value) == self._rows:
            return value.tensor_split(self._lanes)  # type: ignore[no-any-return]
        if may_share and (len(value) == 1 or value.dim() == 2):  # the same for all rows: a mask, weights
            return [value] * self._lanes
        raise NotByLaneError(f"{func} has {len(value)} rows, not {self._rows}")


@contextmanager
def beside(streams: Sequence[torch.cuda.Stream]) -> Iterator[None]:
    """Let streams wait for the current one, and the current one for them at the end."""
    if not streams:
        yield
        return
    current = torch.cuda.current_stream()
    for stream in streams:
        stream.wait_stream(current)
    yield
    for stream in streams:
        current.wait_stream(stream)
