"""Kernel names in rows that people paste: tables of nsys, nvprof, ncu and PyTorch, Markdown, CSV, names in backticks.

A row is cut into cells where its kind of table cuts: at bars, tabs, two or more spaces, or commas between CSV fields.
Numbers, times and what a profiler adds to a name go from both ends of a cell, and the cell that reads best as a kernel
name is the name. A line that is no row of a table is a name as it is.
"""

import csv
import re

from tracediff.kernels.registry import parse

#: `43.6`, `1,234`, `12.3%`, `1.72898s`, `0B`: a number with its unit, and a unit or a sign by itself.
_VALUE = re.compile(
    r"[-+]?\d[\d.,']*(?:e[-+]?\d+)?(?:%|x|[kKMGT]?i?B(?:/s)?|[nuµμm]?s)?|%|[nuµμm]?s|[KMG]i?B|-+|\*", re.I
)
#: The longest of them without a digit in front: `KiB`.
_LONGEST_UNIT = 3
_LABEL = re.compile(r"(?:GPU activities|API calls|Name|Kernel(?: name)?):\s+", re.I)
_BULLET = re.compile(r"(?:[-*+•>]|\d+[.)])\s+(?=\S)")
#: What ncu writes behind a name: the grid and the block, then the context; older versions: a date.
_NCU_TAIL = re.compile(
    r"\s*\(\d+, \d+, \d+\)\s*x\s*\(\d+, \d+, \d+\).*$|,\s*(?:\d{4}-\w{3}-\d\d [\d:]+,\s*)?Context \d+.*$"
)
_GRID_AND_BLOCK = re.compile(r"\)\s*x\s*\(")  # without it, and without a context, there is no such tail to look for
#: nvprof counts launches behind a name: `name [123]`.
_NVPROF_TAIL = re.compile(r"\s+\[\d+\]$")
_CSV = re.compile(r'^(?:"[^"]*",|-?[\d.]+,[^\s,]+,)')
_NO_TEXT = re.compile(r"^(?:\W*|`{3,}\w*)$")  # a blank line, a rule, a fence of Markdown
#: What profilers print around their tables.
_TALK = re.compile(
    r"^(?:Processing \[|SKIPPED:|NOTICE:|WARNING:|Generating |Exporting |Section: |Self C(?:PU|UDA) time total"
    r'|==\w+==(?! Profiling ")|\*\* .*:$)'
)
#: The heading of the column of names, beside others.
_HEADING = re.compile(r'(?:^|[,|\t]|\s{2,})\s*"?(?:kernel )?name"?\s*(?:$|[,|\t]|\s{2,})', re.I)
_HEADING_END = re.compile(r'name"?\s*(?:$|[,|\t]|\s{2,})')  # found at once where a name has none
_UNSURE_FAMILIES = frozenset({"other", "triton_user"})  # any identifier is read as one of these


def name_in_row(line: str) -> str | None:
    """Return the kernel name in a pasted line, or None where it is a rule, a header or a row without one."""
    text = line.strip()
    if text.isidentifier() and text.isascii():  # a procedural name by itself
        return None if len(text) <= _LONGEST_UNIT and _is_value(text) else text
    if _NO_TEXT.match(text) or _TALK.match(text) or _is_heading(text):
        return None
    cells, is_table = _cells(text)
    if not is_table and len(cells) == 1:
        return cells[0] or None
    ranked = [(rank, cell) for cell in cells if (rank := _rank(cell))]
    return max(ranked, key=lambda each: (each[0], len(each[1])))[1] if ranked else None


def _is_heading(text: str) -> bool:
    lower = text.lower()
    return lower != "name" and _HEADING_END.search(lower) is not None and _HEADING.search(text) is not None


def _cells(text: str) -> tuple[list[str], bool]:
    """Return the cells of a line without their decoration, and whether it is a row of a table."""
    if _is_plain(text) and not _is_cut(text) and not _CSV.match(text):
        bare = _undecorated(text)
        return [bare] if bare else [], bare != text
    spans = re.findall(r"`([^`]+)`", text)
    quoted = re.findall(r'"([^"]+)"', text)
    if spans:
        parts, is_table = spans, True
    elif re.match(r"^[|│┃]", text):
        parts, is_table = re.split(r"\s*[|│┃]\s*", text), True
    elif _CSV.match(text):
        parts, is_table = _csv_fields(text), True
    elif quoted:
        parts, is_table = quoted, True
    else:
        parts = re.split(r"\t|\s{2,}", text)
        is_table = len(parts) > 1
    cells = [_undecorated(part) for part in parts]
    return [cell for cell in cells if cell], is_table or cells != parts


def _is_plain(text: str) -> bool:
    """Whether the only white space is the ASCII space, and no letter is other than ASCII."""
    return text.isascii() and text.isprintable()


def _is_cut(text: str) -> bool:
    """Whether it has what a row has between its cells or around them, where all white space is ASCII spaces."""
    return "  " in text or "`" in text or '"' in text or "|" in text


def _csv_fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a field longer than the module's limit: no kernel name
        return []


def _undecorated(cell: str) -> str:
    """Return a cell without bullets, labels, numbers at either end, quotes, and what profilers append to a name."""
    if " " not in cell and _is_plain(cell):  # nothing but quotes, or a number, can be around a name
        return "" if _is_value(cell) else cell.strip("\"'")
    bare = _after(_LABEL, _after(_BULLET, cell.strip()))
    if "Context " in bare or _GRID_AND_BLOCK.search(bare):
        bare = _NCU_TAIL.sub("", bare)
    if bare.endswith("]"):
        bare = _NVPROF_TAIL.sub("", bare)
    words = bare.split(" ")
    first, last = 0, len(words)
    while first < last and _is_value(words[first]):
        first += 1
    while last > first and _is_value(words[last - 1]):
        last -= 1
    return " ".join(words[first:last]).strip("\"'")


def _after(pattern: re.Pattern[str], text: str) -> str:
    """Return a text without what it begins with. (A search for `^…` looks at every place in the text.)"""
    found = pattern.match(text)
    return text if found is None else text[found.end() :]


def _is_value(word: str) -> bool:
    return not word or _VALUE.fullmatch(word) is not None


def _rank(cell: str) -> int:
    """How well a cell reads as a kernel name; 0 where it does not."""
    if parse(cell).family not in _UNSURE_FAMILIES:
        return 3
    if "::" in cell or re.search(r"\w<.*>|\w\(.*\)$", cell):
        return 2
    return int(re.fullmatch(r"\w*_\w*", cell) is not None)
