"""Matrix products with a fixed tile: every output element is summed over k in the same steps, whatever the rows.

Nothing is split along k. Two forms: one tile for every shape, and tiles that follow the number of rows with only the
step along k fixed. Whether the second has the same bits at every row count is a question to the compiler: other tiles
may use other tensor core instructions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

K_STEP = 64


@triton.jit
def _multiply(
    x, weight, output, rows, columns, depth, x_row, weight_row,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write one tile of x @ weight.T; one program per (row tile, column tile)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, STEP)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    x_tile = x + row.to(tl.int64)[:, None] * x_row + k[None, :]
    weight_tile = weight + column.to(tl.int64)[None, :] * weight_row + k[:, None]
    for start in range(0, depth, STEP):
        inside = k < depth - start
        a = tl.load(x_tile + start, mask=(row < rows)[:, None] & inside[None, :], other=0.0)
        b = tl.load(weight_tile + start, mask=(column < columns)[None, :] & inside[:, None], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    place = output + row.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(place, total.to(output.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def _launch(x: torch.Tensor, weight: torch.Tensor, tile: tuple[int, int], warps: int, stages: int) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1])
    if flat.stride(-1) != 1:
        flat = flat.contiguous()
    rows, depth = flat.shape
    columns = weight.shape[0]
    output = torch.empty(rows, columns, dtype=x.dtype, device=x.device)
    step = K_STEP if x.dtype.itemsize == 2 else K_STEP // 2
    _multiply[(triton.cdiv(rows, tile[0]), triton.cdiv(columns, tile[1]))](
        flat, weight, output, rows, columns, depth, flat.stride(0), weight.stride(0),
        ROWS=tile[0], COLUMNS=tile[1], STEP=step, PRECISION="ieee" if x.dtype is torch.float32 else "tf32",
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return output.view(*x.shape[:-1], columns)


@torch.library.custom_op("tracediff::linear_fixed_tile", mutates_args=())
def linear_fixed_tile(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply (…, k) by (columns, k) transposed, in tiles of 64 × 64 whatever the shape."""
    return _launch(x, weight, (64, 64), 4, 4)


@linear_fixed_tile.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("tracediff::linear_fixed_step", mutates_args=())
def linear_fixed_step(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply likewise in tiles that follow the number of rows; only the step along k is fixed."""
    rows = x.numel() // x.shape[-1]
    tile_rows = min(128, max(16, triton.next_power_of_2(rows)))
    return _launch(x, weight, (tile_rows, 128 if tile_rows >= 64 else 32), 8 if tile_rows == 128 else 4, 4)


@linear_fixed_step.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])
