"""The page as text: what it says of a real pair, that it needs nothing else, that it lets no trace write markup."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from tracediff.diff.result import TraceDiff
from tracediff.report.diff.html import render_html

from .hostile import ATTACKS, hostile_diff
from .samples import diff

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; complains about elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return render_html(hostile_diff())


def first_screen(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<main>") : page.index('id="map"')]).split())


def test_the_first_screen_says_the_result_of_the_real_pair(real_page: str) -> None:
    said = first_screen(real_page)
    assert "Expected (from the traces alone): bits can differ Cause: split-K 3 → 2 in q_proj and o_proj" in said
    assert "5 split-K reductions per block on both sides: the count shows no change" in said
    assert "though 64 modules have a different split-K factor" in said


def test_both_sides_full_kernel_names_are_there_with_their_differing_words_marked(real_page: str) -> None:
    assert "nvjet_sm90_hsh_<mark>128x8</mark>_<mark>64x12</mark>_<mark>4x1</mark>_v_bz_splitK_TNT" in real_page
    assert "nvjet_sm90_hsh_<mark>64x16</mark>_<mark>64x16</mark>_<mark>2x1</mark>_v_bz_splitK_TNT" in real_page


@pytest.mark.parametrize("which", ["real", "hostile", "empty"])
def test_every_link_leads_somewhere_and_no_id_stands_twice(which: str, real_page: str, hostile_page: str) -> None:
    page = Page({"real": real_page, "hostile": hostile_page, "empty": render_html(diff())}[which])
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for href in page.values("href"):
        assert href.startswith("#"), href
        assert unquote(href[1:]) in ids, href
    for name in ("aria-labelledby", "for"):
        assert set(page.values(name)) <= set(ids)


def test_the_page_asks_for_nothing_from_outside(real_page: str) -> None:
    page = Page(real_page)
    assert page.values("src") == []
    assert page.elements["link"] == page.elements["iframe"] == page.elements["object"] == 0
    assert "url(" not in real_page and "@import" not in real_page
    policy = next(value for value in page.values("content") if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy and "unsafe-eval" not in policy


def test_a_whole_model_with_evidence_stays_under_six_megabytes(full_diff: TraceDiff) -> None:
    assert len(full_diff.rows) > 1_200
    assert len(render_html(full_diff).encode()) < 6_000_000


def test_the_same_diff_gives_the_same_page(real_diff: TraceDiff) -> None:
    assert render_html(real_diff) == render_html(real_diff)


def test_the_answer_stands_before_every_large_script(real_page: str) -> None:
    assert max(real_page.index("<h1"), real_page.index('class="heat"')) < real_page.index('id="payload"')


def test_a_trace_adds_no_element_and_no_attribute(hostile_page: str) -> None:
    page = Page(hostile_page)
    assert page.elements["script"] == 3
    assert not {"img", "svg", "base", "b" * 9, "textarea", "iframe"} & set(page.elements)
    assert not [name for _, name, _ in page.attributes if name.startswith("on") and name != "on"]
    assert not [value for value in page.values("href") if not re.fullmatch(r"#[A-Za-z0-9_.:-]+", value)]


def test_what_a_trace_says_is_still_readable_as_text(hostile_page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page
    assert r"\x1b[31mred" in hostile_page
    assert r"nul\x00nul\ud800" in hostile_page
    assert r"\u202egnp.exe" in hostile_page
    assert "x" * 10_000 in hostile_page


def test_no_control_character_reaches_the_page(hostile_page: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", hostile_page)
    hostile_page.encode("utf-8")


def test_every_attack_is_part_of_the_hostile_diff() -> None:
    names = "".join(kernel.parsed.name for row in hostile_diff().rows for kernel in row.b)
    assert all(attack in names for attack in ATTACKS)
