"""Hand-made kernels for rule tests."""

from tests.changed import replace
from tracediff.diff.result import Kernel
from tracediff.kernels import KernelName, Types
from tracediff.trace.algorithm import Algorithm


def kernel(name="k", family="other", role="other", *, split_k=None, grid=(1, 1, 1), block=(128, 1, 1), **fields):
    algorithm = fields.pop("algorithm", None)
    return Kernel(
        parsed=KernelName(name=name, family=family, role=role, **fields),
        split_k=split_k,
        split_k_source="log" if split_k is not None else None,
        grid=grid,
        block=block,
        registers=32,
        shared_memory_bytes=0,
        duration_ns=1000,
        algorithm=algorithm,
    )


def nvjet(split_k, *, tile=(128, 8, 64), name=None, **fields):
    name = name or f"nvjet_sm90_hsh_{tile[0]}x{tile[1]}_{tile[2]}x12_4x1_v_bz{'_splitK' if split_k != 1 else ''}_TNT"
    return kernel(name, "nvjet", "gemm", split_k=split_k, tile=tile, **fields)


def splitk_reduce(partial="f32", **fields):
    types = Types(partial=partial)
    return kernel("splitKreduce_kernel", "cublaslt_splitkreduce", "splitk_reduce", types=types, **fields)


def log(**fields):
    return replace(Algorithm(function="cublasLtHSHMatmul"), **fields)
