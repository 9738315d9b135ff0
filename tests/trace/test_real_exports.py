"""Real exports, checked against SQL that anyone can run."""

import pickle
import sqlite3
from collections import Counter

import numpy as np
import pytest
from small_exports import DATA

from tracediff.trace import read_trace

LLAMA = DATA / "llama-two-blocks-b1.sqlite"
EXPORTS = sorted(DATA.glob("*.sqlite"))

#: Innermost range per kernel, found the slow way: of all ranges around the launch, the shortest.
SLOW_ATTRIBUTION = """
SELECT names.value AS kernel,
       (SELECT coalesce(text, value) FROM NVTX_EVENTS AS r LEFT JOIN StringIds ON StringIds.id = r.textId
        WHERE r.eventType = 59 AND r.globalTid = call.globalTid AND r.start <= call.start AND call.start <= r.end
        ORDER BY r.end - r.start LIMIT 1) AS module, kernel.end - kernel.start
FROM CUPTI_ACTIVITY_KIND_KERNEL AS kernel
JOIN CUPTI_ACTIVITY_KIND_RUNTIME AS call ON call.correlationId = kernel.correlationId
    AND call.globalTid / 0x1000000 = kernel.globalPid / 0x1000000
JOIN StringIds AS names ON names.id = kernel.demangledName
ORDER BY call.start, kernel.start
"""


@pytest.mark.parametrize("path", [LLAMA, DATA / "llama-two-blocks-b2.sqlite"], ids=lambda path: path.stem)
def test_every_kernel_has_the_innermost_range_open_at_its_launch(path):
    with sqlite3.connect(path) as connection:
        expected = connection.execute(SLOW_ATTRIBUTION).fetchall()

    table = read_trace(path)

    found = [
        (table.names[name], table.keys[key].module or table.keys[key].phase, duration)
        for name, key, duration in zip(table.name, table.key, table.duration_ns.tolist(), strict=True)
    ]
    assert found == expected
    assert len(found) == 112 + (path.stem[-1] == "2")


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_no_kernel_is_lost_and_the_coverage_adds_up(path):
    with sqlite3.connect(path) as connection:
        (count, time), *_ = connection.execute("SELECT count(*), sum(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL")

    table = read_trace(path)

    covered = table.coverage
    assert len(table) == covered.kernels == count
    assert int(table.duration_ns.sum()) == time
    assert covered.in_module + covered.in_phase_only + covered.outside_ranges + covered.no_launch == count


def test_five_split_k_reductions_per_block_at_batch_1():
    table = read_trace(LLAMA)
    reduces = Counter(
        table.keys[key].layer
        for name, key in zip(table.name, table.key, strict=True)
        if "splitKreduce" in table.names[name]
    )
    assert reduces == {0: 5, 1: 5}


def test_kernels_stand_in_launch_order_and_keys_in_order_of_first_launch():
    table = read_trace(LLAMA)
    assert (table.launch_ns[1:] >= table.launch_ns[:-1]).all()
    first = {key: position for position, key in reversed(list(enumerate(table.key.tolist())))}
    assert [first[key] for key in range(len(table.keys))] == sorted(first.values())
    assert table.keys[0].module == "model.embed_tokens"


def test_each_logged_matmul_belongs_to_the_gemm_of_its_module():
    table = read_trace(LLAMA)
    logged = {
        table.keys[key].module: table.algorithms[algorithm]
        for key, algorithm in zip(table.key, table.algorithm, strict=True)
        if algorithm >= 0
    }
    assert "numSplitsK=3" in logged["model.layers.0.self_attn.q_proj"]
    assert "numSplitsK=4" in logged["model.layers.1.mlp.down_proj"]
    assert "numSplitsK" not in logged["model.layers.1.mlp.up_proj"]
    assert len(logged) == 16


def test_launch_configuration_is_the_exports():
    with sqlite3.connect(LLAMA) as connection:
        rows = connection.execute(
            """SELECT gridX, gridY, gridZ, blockX, blockY, blockZ, registersPerThread,
               staticSharedMemory + dynamicSharedMemory, kernel.start, deviceId, streamId
               FROM CUPTI_ACTIVITY_KIND_KERNEL AS kernel JOIN CUPTI_ACTIVITY_KIND_RUNTIME AS call USING (correlationId)
               ORDER BY call.start"""
        ).fetchall()
    table = read_trace(LLAMA)
    for index, row in enumerate(rows):
        assert (*table.grid[index], *table.block[index]) == row[:6]
        assert (table.registers[index], table.shared_memory_bytes[index], table.start_ns[index]) == row[6:9]
        assert (table.device[index], table.stream[index]) == row[9:]


def test_the_exports_own_words_about_gpu_and_profiler():
    info = read_trace(LLAMA).info
    assert (info.profiler, info.profiler_version) == ("nsys", "2025.3.2.0")
    assert (info.gpu, info.sm_count) == ("NVIDIA H200", 132)


def test_a_data_frame_has_one_row_per_kernel():
    frame = read_trace(LLAMA).to_frame()
    assert len(frame) == 112
    assert frame.groupby("module", observed=True).size()["model.layers.0.self_attn.q_proj"] == 2
    assert frame["layer"].isna().sum() == 22


def test_a_table_is_the_same_after_it_went_to_another_process():
    table = read_trace(LLAMA)
    there = pickle.loads(pickle.dumps(table))
    for name in table.__struct_fields__:
        before, after = getattr(table, name), getattr(there, name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)
        else:
            assert after == before
