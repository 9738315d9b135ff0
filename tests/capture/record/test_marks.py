"""NVTX marks from within a recorded program, as far as no nsys is needed."""

import pytest

from tracediff.capture.record.marks import DomainMarks


def test_an_nvtx_that_cannot_be_used_is_told_as_one_that_is_not_there():
    with pytest.raises(ImportError):
        DomainMarks(pytest)
