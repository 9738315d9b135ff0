"""The Triton kernels: right, and one row's bits the same beside any others. Needs a GPU."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)

from tracediff.measure.invariant.attention import CHUNK, fixed_chunk_attention  # noqa: E402
from tracediff.measure.invariant.products import linear_fixed_step, linear_fixed_tile  # noqa: E402

pytestmark = pytest.mark.torch
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def tensors(batch, heads, key_heads, queries, keys, width, dtype):
    generator = torch.Generator(device="cuda").manual_seed(0)

    def made(*shape):
        return torch.randn(*shape, device="cuda", generator=generator).to(dtype)

    return made(batch, heads, queries, width), made(batch, key_heads, keys, width), made(batch, key_heads, keys, width)


def exact(query, key, value):
    groups = query.shape[1] // key.shape[1]
    mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device="cuda").tril(key.shape[2] - query.shape[2])
    key, value = (each.double().repeat_interleave(groups, 1) for each in (key, value))
    attended = torch.nn.functional.scaled_dot_product_attention(query.double(), key, value, attn_mask=mask)
    return attended.transpose(1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keys", [1, 16, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 5])
@pytest.mark.parametrize(("heads", "key_heads", "width"), [(32, 8, 128), (24, 8, 128), (32, 8, 64), (4, 4, 32)])
def test_attention_is_right_and_does_not_see_the_batch(dtype, keys, heads, key_heads, width):
    query, key, value = tensors(9, heads, key_heads, 1, keys, width, dtype)
    all_rows = fixed_chunk_attention(query, key, value)
    wanted = exact(query, key, value)
    limit = 1e-5 if dtype is torch.float32 else 5e-3
    assert (all_rows.double() - wanted).norm() / wanted.norm() < limit
    for batch in (1, 2, 5):
        assert torch.equal(fixed_chunk_attention(query[:batch], key[:batch], value[:batch]), all_rows[:batch])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cached", [0, CHUNK - 2, 3 * CHUNK])
def test_a_token_has_the_same_bits_in_a_prompt_and_in_a_step(dtype, cached):
    query, key, value = tensors(2, 8, 2, 5, cached + 5, 64, dtype)
    prompt = fixed_chunk_attention(query, key, value)
    wanted = exact(query, key, value)
    assert (prompt.double() - wanted).norm() / wanted.norm() < 1e-2
    for place in range(5):
        until = cached + place + 1
        step = fixed_chunk_attention(query[:, :, place : place + 1], key[:, :, :until], value[:, :, :until])
        assert torch.equal(step[:, 0], prompt[:, place])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", [linear_fixed_tile, linear_fixed_step])
@pytest.mark.parametrize(("depth", "columns"), [(4096, 1024), (4100, 130), (33, 7)])
def test_products_are_right(dtype, product, depth, columns):
    x = torch.randn(70, depth, device="cuda").to(dtype)
    weight = torch.randn(columns, depth, device="cuda").to(dtype)
    wanted = x.double() @ weight.double().T
    for rows in (1, 17, 70):
        assert (product(x[:rows], weight).double() - wanted[:rows]).norm() / wanted[:rows].norm() < 5e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_tile_for_every_shape_does_not_see_the_rows(dtype):
    x = torch.randn(300, 4100, device="cuda").to(dtype)
    weight = torch.randn(130, 4100, device="cuda").to(dtype)
    all_rows = linear_fixed_tile(x, weight)
    for rows in (1, 2, 63, 64, 65, 200):
        assert torch.equal(linear_fixed_tile(x[:rows], weight), all_rows[:rows])


def test_shapes_that_do_not_fit_are_refused():
    query, key, value = tensors(1, 6, 4, 1, 8, 32, torch.float16)
    with pytest.raises(ValueError, match="no attention"):
        fixed_chunk_attention(query, key, value)
