"""What runs once per lane, what once for all rows, and what is refused because nobody said which it is."""

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from tracediff.measure.lane_by_lane import LaneByLane, NotByLaneError  # noqa: E402

ROWS, LANES = 6, 3


class _Seen(TorchDispatchMode):
    """Notes the first dimension of every linear product's input."""

    def __init__(self):
        super().__init__()
        self.products = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.linear.default:
            self.products.append(len(args[0]))
        return func(*args, **(kwargs or {}))


def rows(*shape):
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))


def run(function, *values):
    with torch.inference_mode(), LaneByLane(ROWS, LANES):
        return function(*values)


def test_a_product_sees_the_rows_of_one_lane():
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    with _Seen() as seen:
        run(torch.nn.functional.linear, rows(1, 8), weight)
    assert seen.products == [2, 2, 2]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.nn.functional.linear(x, torch.ones(5, 8)),
        lambda x: x.pow(2).mean(-1, keepdim=True),
        lambda x: x.softmax(-1),
        lambda x: x @ x.transpose(1, 2),
        lambda x: torch.nn.functional.dropout(x, training=False) * 2,
        lambda x: torch.nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None]),
        lambda x: torch.cat([x, x.neg()], dim=-1),
    ],
)
def test_every_row_gets_what_its_lane_alone_would_get(function):
    x = rows(3, 8)
    alone = torch.cat([function(lane) for lane in x.tensor_split(LANES)])
    assert torch.equal(run(function, x), alone)


def test_what_all_rows_share_is_computed_once():
    shared = torch.ones(1, 4, 1)
    assert run(lambda: shared @ shared.transpose(1, 2)).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.cumsum(-1), "cumsum"),
        (lambda x: x.sort(-1).values, "sort"),
        (lambda x: x.mean(0, keepdim=True), "mixes rows"),
        (lambda x: x.reshape(ROWS * 3, 8).mean(-1), "has 18 rows, not 6"),
    ],
)
def test_what_is_not_known_to_keep_rows_apart_is_refused(function, words):
    with pytest.raises(NotByLaneError, match=words):
        run(function, rows(3, 8))
