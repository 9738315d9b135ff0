"""A GGUF header that states something else than is there is one line, read in bounded time and memory."""

import struct

import pytest

from tests.model.tiny_gguf import write_gguf
from tracediff.errors import TracediffError
from tracediff.model.gguf_header import read_gguf_header

HUGE = 1 << 60
UINT8, INT32, UINT32, FLOAT32, TEXT, ARRAY = 0, 5, 4, 6, 8, 9
F32, F16, Q4_1 = 0, 1, 3


def text(content, length=None):
    content = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<Q", len(content) if length is None else length) + content


def value(key, kind, content):
    return text(key) + struct.pack("<I", kind) + content


def tensor(name, *shape, kind=F32, offset=0, dimensions=None):
    dimensions = len(shape) if dimensions is None else dimensions
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", dimensions, *shape, kind, offset)


LLAMA = value("general.architecture", TEXT, text("llama"))
BLOCKS = value("llama.block_count", UINT32, struct.pack("<I", 1))
TENSORS = (tensor("blk.0.attn_norm.weight", 4), tensor("output_norm.weight", 2, 2, offset=32))


def gguf(values=(LLAMA, BLOCKS), tensors=TENSORS, *, magic=b"GGUF", version=3, counts=None, data=64):
    counts = counts or (len(tensors), len(values))
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join([*values, *tensors])
    return header + bytes(-len(header) % 32 + data)


@pytest.fixture
def read(tmp_path):
    pytest.importorskip("gguf")

    def read_bytes(content):
        path = tmp_path / "some.gguf"
        path.write_bytes(content)
        return read_gguf_header(path)

    return read_bytes


def test_a_header_says_what_the_file_holds(read):
    header = read(gguf())
    assert header.values == {"general.architecture": "llama", "llama.block_count": 1}
    assert [(each.name, each.shape, each.elements) for each in header.tensors] == [
        ("blk.0.attn_norm.weight", (4,), 4),
        ("output_norm.weight", (2, 2), 4),
    ]
    assert (header.elements, header.data_start % 32) == (8, 0)


def test_a_real_header_is_read_as_gguf_reads_it(tmp_path):
    gguf_package = pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, "{{ messages }}")
    header, reader = read_gguf_header(path), gguf_package.GGUFReader(path)
    assert [each.name for each in header.tensors] == [each.name for each in reader.tensors]
    assert header.elements == sum(each.n_elements for each in reader.tensors)
    assert header.values["tokenizer.chat_template"] == "{{ messages }}"
    assert header.data_start == reader.data_offset


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a GGUF file"),
        (b"GG", "is not a GGUF file"),
        (gguf(magic=b"GGML"), "is not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (gguf(version=1), "version 1 of GGUF"),
        (gguf(version=4), "version 4 of GGUF"),
        (gguf(version=3 << 24), "big-endian"),
        (b"GGUF\3\0\0\0", "ends within its header"),
        (gguf(counts=(HUGE, 2)), "states 1,152,921,504,606,846,976 tensors"),
        (gguf(counts=(2, HUGE)), "states 1,152,921,504,606,846,976 values"),
        (gguf(counts=(2, 3), data=0), "damaged"),
        (gguf([LLAMA, LLAMA]), "general.architecture stands there twice"),
        (gguf([value("a", 13, b"")]), "a is of type 13, which GGUF does not have"),
        (gguf([value("a", TEXT, text("x", HUGE))]), "a states a length of 1,152,921,504,606,846,976 bytes"),
        (gguf([text("a", HUGE)]), "a key states a length"),
        (gguf([value("a", TEXT, text(b"\xff"))]), "a is not UTF-8"),
        (gguf([value(b"\xff", TEXT, text(""))]), "a key is not UTF-8"),
        (gguf([value("a", FLOAT32, struct.pack("<f", float("nan")))]), "a is nan"),
        (gguf([value("a", FLOAT32, struct.pack("<f", float("-inf")))]), "a is -inf"),
        (gguf([value("a", ARRAY, struct.pack("<IQ", UINT8, HUGE))]), "states 1,152,921,504,606,846,976 elements of a"),
        (gguf([value("a", ARRAY, struct.pack("<IQ", TEXT, HUGE))]), "elements of a"),
        (gguf([value("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "a is an array of type 9"),
        (gguf([value("general.alignment", UINT32, struct.pack("<I", 24))]), "general.alignment is 24, no power of two"),
        (gguf([value("general.alignment", UINT32, bytes(4))]), "general.alignment is 0"),
        (gguf([value("general.alignment", INT32, struct.pack("<i", 32))]), "general.alignment is of type 5"),
        (gguf([BLOCKS]), "does not state general.architecture"),
        (gguf([LLAMA, value("llama.block_count", UINT32, b"\xff" * 4)]), "block_count is 4294967295, too many"),
        (gguf([LLAMA, value("llama.block_count", INT32, b"\xff" * 4)]), "block_count is -1, too many"),
        (gguf([LLAMA, value("llama.block_count", TEXT, text("1"))]), "block_count is 1, too many"),
        (gguf([LLAMA, value("llama.expert_count", UINT32, b"\xff" * 4)]), "expert_count is 4294967295, too many"),
        (gguf([LLAMA]), r"states 0 blocks, and holds blk\.0\.attn_norm\.weight"),
        (gguf(tensors=[TENSORS[0], TENSORS[0]]), "tensor blk.0.attn_norm.weight stands there twice"),
        (gguf(tensors=[tensor(b"\xff", 4)]), "the name of a tensor is not UTF-8"),
        (gguf(tensors=[tensor("a", HUGE, HUGE, HUGE, HUGE)]), "tensor a is said to lie in bytes"),
        (gguf(tensors=[tensor("a", 4, dimensions=1 << 31)]), "tensor a has 2,147,483,648 dimensions"),
        (gguf(tensors=[tensor("a")]), "tensor a has 0 dimensions"),
        (gguf(tensors=[tensor("a", 0)]), "tensor a has rows of 0 elements"),
        (gguf(tensors=[tensor("a", 4, 0)]), "damaged"),
        (gguf(tensors=[tensor("a", 4, kind=99)]), "tensor a is of type 99; gguf here knows types up to"),
        (gguf(tensors=[tensor("a", 31, kind=Q4_1)]), "rows of 31 elements in blocks of 32"),
        (gguf(tensors=[tensor("a", 4, offset=96)]), "tensor a is said to lie in bytes"),
        (gguf(tensors=[tensor("a", 4, offset=(1 << 64) - 32)]), "tensor a is said to lie in bytes"),
        (gguf(tensors=[tensor("a", 4, offset=4)]), "tensor a is said to lie in bytes"),
        (gguf(tensors=[tensor("a", 16), tensor("b", 8, offset=32)]), "tensor b is said to lie in bytes"),
        (gguf(tensors=[tensor("a\n\x1b[31m" + "x" * 999)]), r"tensor a\\n\\x1b\[31mx+…x+ has 0 dimensions"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_file_is_one_line(read, content, words):
    with pytest.raises(TracediffError, match=words) as raised:
        read(content)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 500


def test_a_header_cut_anywhere_is_one_line(read):
    whole = gguf(data=48)
    for length in range(len(whole)):
        with pytest.raises(TracediffError):
            read(whole[:length])


def test_more_elements_than_any_vocabulary_has_are_refused_unread(tmp_path):
    pytest.importorskip("gguf")
    path = tmp_path / "sparse.gguf"
    path.write_bytes(gguf([value("a", ARRAY, struct.pack("<IQ", UINT8, 1 << 33))], counts=(0, 1)))
    with path.open("ab") as file:
        file.truncate(1 << 34)  # a hole: no byte of it is on the disk
    with pytest.raises(TracediffError, match="states 8,589,934,592 elements of a"):
        read_gguf_header(path)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(TracediffError, match=r"cannot read .*none\.gguf: No such file"):
        read_gguf_header(tmp_path / "none.gguf")
