"""Small maps, made by hand."""

from tracediff.findings.maps import FORWARD, BatchMap, Count, ModuleMap


def module(bits, *, name="q_proj", kind="product", keys=None, rows=None, ns=None, orders=None, inputs="x", **more):
    """A module with one letter of `bits` per row count; `?` varies from run to run."""
    counts = tuple(
        Count(
            rows=row,
            bits=None if letter == "?" else letter,
            nanoseconds=None if ns is None else ns[place],
            order=None if orders is None else orders[place],
            **more,
        )
        for place, (row, letter) in enumerate(zip(rows or range(1, len(bits) + 1), bits, strict=True))
    )
    return ModuleMap(name=name, kind=kind, shape="4 → 4", keys=keys, inputs=inputs, counts=counts)


def forward(bits, keys=300, **more):
    """The whole forward."""
    return module(bits, name=FORWARD, kind=FORWARD, keys=keys, **more)


def batch_map(*modules, **fields):
    """A map of these modules."""
    about = {"machine": {"gpu": "H100", "torch": "2"}, "model": "m", "dtype": "float16", "setting": "default"}
    return BatchMap(**{**about, "layers": None, "hashed": "h", **fields}, modules=modules)
