"""cuBLASLt's and cuBLAS's own words become marks, and nothing that happens there reaches the model."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.capture.algorithm_log import AlgorithmLog, CublasCall, algorithm_log, loaded_libraries, without_addresses

# As cuBLAS 13.1 printed it on an H200.
LT_LINE = (
    "cublasLtHSHMatmul A=0X7FE22A000000 Adesc=[type=R_16F rows=4096 cols=4096 ld=4096] B=0X7FE21709CE00 "
    "Bdesc=[type=R_16F rows=4096 cols=6 ld=4096] C=0X7FE217090E00 Cdesc=[type=R_16F rows=4096 cols=6 ld=4096] "
    "D=0X7FE217090E00 Ddesc=[type=R_16F rows=4096 cols=6 ld=4096] computeDesc=[computeType=COMPUTE_32F "
    "scaleType=R_32F transa=OP_T smCountTarget=132] algo=[algoId=66 tile=MATMUL_TILE_128x8 "
    "stages=MATMUL_STAGES_64xAUTO reductionScheme=REDUCTION_SCHEME_COMPUTE_TYPE numSplitsK=3 customOption=1 "
    "clusterShape=CLUSTER_SHAPE_4x1x1] workSpace=0X7FDE1E000000 workSpaceSizeInBytes=294928 beta=0 outOfPlace=0 "
    "stream=0X0"
)
LT_CLEAN = (
    "cublasLtHSHMatmul Adesc=[type=R_16F rows=4096 cols=4096 ld=4096] "
    "Bdesc=[type=R_16F rows=4096 cols=6 ld=4096] Cdesc=[type=R_16F rows=4096 cols=6 ld=4096] "
    "Ddesc=[type=R_16F rows=4096 cols=6 ld=4096] computeDesc=[computeType=COMPUTE_32F "
    "scaleType=R_32F transa=OP_T smCountTarget=132] algo=[algoId=66 tile=MATMUL_TILE_128x8 "
    "stages=MATMUL_STAGES_64xAUTO reductionScheme=REDUCTION_SCHEME_COMPUTE_TYPE numSplitsK=3 customOption=1 "
    "clusterShape=CLUSTER_SHAPE_4x1x1] workSpaceSizeInBytes=294928 beta=0 outOfPlace=0"
)
# The layout that cuBLAS 10 to 13 print.
CUBLAS_LINES = [
    "I! cuBLAS (v13.1.0) function cublasStatus_t cublasSgemm_v2(cublasHandle_t, cublasOperation_t, int) called:",
    "i!  handle: type=cublasHandle_t; val=POINTER (IN HEX:0x0x2d3c1100)",
    "i!  transa: type=cublasOperation_t; val=CUBLAS_OP_T(1)",
    "i!  m: type=int; val=2",
    "i!  alpha: type=float; val=POINTER (IN HEX:0x0x7ffd937acafc)",
    "i! Time: 2026-01-01T18:11:38 elapsed from start 0.016667 minutes or 1.000000 seconds",
    "i!Process=10673; Thread=123934205857792; GPU=0; Handle=POINTER (IN HEX:0x0x2d3c1100)",
    "i! COMPILED WITH: GNU GCC/G++ / 8.5.0 20210514 (Red Hat 8.5.0-26)",
]
CUBLAS_CLEAN = "cublasSgemm_v2 transa=OP_T(1) m=2"


class FakeLt:
    """A cuBLASLt that remembers what it was told."""

    def __init__(self):
        self.level = 0
        self.callback = None

    def cublasLtLoggerSetCallback(self, callback):  # noqa: N802
        self.callback = callback

    def cublasLtLoggerSetLevel(self, level):  # noqa: N802
        self.level = level

    def cublasLtLoggerOpenFile(self, path):  # noqa: N802
        assert path == b"/dev/null"

    def launch(self, line=LT_LINE, level=2):
        self.callback(level, b"cublasLtMatmul", line.encode())


class FakeCublas:
    """A cuBLAS that remembers what it was told."""

    def __init__(self):
        self.on = False
        self.callback = None

    def cublasSetLoggerCallback(self, callback):  # noqa: N802
        self.callback = callback

    def cublasLoggerConfigure(self, on, to_stdout, to_stderr, file):  # noqa: N802
        assert not (to_stdout or to_stderr or file)
        self.on = bool(on)


def test_addresses_go_and_everything_else_stays():
    assert without_addresses(LT_LINE) == LT_CLEAN


def test_equal_calls_at_other_addresses_give_equal_lines():
    elsewhere = LT_LINE.replace("0X7FE22A000000", "0X7FE26AC00000").replace("0X7FDE1E000000", "0X0")
    assert without_addresses(elsewhere) == LT_CLEAN


@given(st.lists(st.tuples(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers(1 << 32, (1 << 48) - 1))))
def test_whatever_the_pointers_are_called_they_go(pairs):
    text = " ".join(f"rows=6 {name}=0X{address:X}" for name, address in pairs)
    assert without_addresses(text) == " ".join("rows=6" for _ in pairs)


def test_every_launch_becomes_one_mark():
    marks, library = [], FakeLt()
    log = AlgorithmLog(marks.append, {"cublasLt": library})
    log.start()
    assert library.level == 2
    library.launch()
    library.launch()
    assert marks == [LT_CLEAN, LT_CLEAN]


def test_a_line_without_its_function_gets_it():
    marks, library = [], FakeLt()
    AlgorithmLog(marks.append, {"cublasLt": library}).start()
    library.launch("algo=[algoId=1]")
    assert marks == ["cublasLtMatmul algo=[algoId=1]"]


def test_errors_of_the_library_become_no_marks():
    marks, library = [], FakeLt()
    AlgorithmLog(marks.append, {"cublasLt": library}).start()
    library.launch("/home/somebody/missing.so", level=1)
    assert marks == []


def test_a_mark_that_fails_never_reaches_the_model():
    def fail(_line):
        raise RuntimeError("no mark today")

    lt, cublas = FakeLt(), FakeCublas()
    AlgorithmLog(fail, {"cublasLt": lt, "cublas": cublas}).start()
    lt.launch()
    cublas.callback("\n".join(CUBLAS_LINES).encode())
    lt.callback(2, None, b"\xff\xfe")
    lt.callback(2, None, None)


def test_stopping_switches_both_logs_off():
    lt, cublas = FakeLt(), FakeCublas()
    log = AlgorithmLog([].append, {"cublasLt": lt, "cublas": cublas})
    log.start()
    assert cublas.on
    log.stop()
    assert (lt.level, cublas.on) == (0, False)
    assert not ctypes.cast(lt.callback, ctypes.c_void_p).value
    assert not ctypes.cast(cublas.callback, ctypes.c_void_p).value


def test_a_library_without_a_logger_is_left_alone():
    log = AlgorithmLog([].append, {"cublasLt": object(), "cublas": object()})
    assert not log.available
    log.start()
    log.stop()


def test_a_cublas_call_is_one_line_without_pointers():
    call = CublasCall()
    assert call.add("\n".join(CUBLAS_LINES)) == CUBLAS_CLEAN


def test_a_cublas_call_may_come_line_by_line():
    call = CublasCall()
    told = [line for line in map(call.add, CUBLAS_LINES * 2) if line]
    assert told == [CUBLAS_CLEAN, CUBLAS_CLEAN]


def test_cublas_calls_that_multiply_nothing_are_no_marks():
    call = CublasCall()
    lines = [line.replace("cublasSgemm_v2", "cublasSetStream_v2") for line in CUBLAS_LINES]
    assert call.add("\n".join(lines)) is None


def test_switched_off_it_does_nothing():
    with algorithm_log(False) as state:
        assert state == "off"


def test_without_cublas_it_says_so():
    if loaded_libraries():
        pytest.skip("cuBLAS is loaded here")
    with algorithm_log(True) as state:
        assert state == "unavailable"
