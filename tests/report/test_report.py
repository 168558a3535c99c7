"""The two files: what they say, that nothing in them is run or fetched, and that user text stays text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from dipole.concepts import Dipole
from dipole.effects import Bystander, Effect, Interval
from dipole.report import write_report
from dipole.types import Sample, UserError

from .realistic import CONCEPT, realistic_effect, realistic_history, realistic_manifest

NASTY = [
    "<script>alert(1)</script>",
    "**bold** _it_ `code` ``` ~~gone~~ \\| \\",
    "a | b || c\nnext line\r\n\n| x |",
    "\u202eoverride \u05e9\u05dc\u05d5\u05dd",
    "🙂 \udcff \x00 \x1b[31m",
    '" onload="alert(1)\' & &lt; {{ 7 * 7 }} {% raw %}',
    "</pre></code></details><img src=x onerror=alert(1)> ![i](http://x.y/z.png) $x$ <!-- -->",
    "``````\n# head\n- item\n> quote",
]


class Page(HTMLParser):
    """Tags, attributes and text of a page; asserts that tags are closed in order."""

    VOID = frozenset({"meta", "col", "line", "circle", "use", "path", "rect", "br"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _write(folder: Path, effect: Effect, history: Any = None, manifest: Any = None) -> tuple[str, str]:
    write_report(
        folder,
        effect,
        realistic_history() if history is None else history,
        realistic_manifest() if manifest is None else manifest,
    )
    return tuple((folder / name).read_text("utf-8") for name in ("report.html", "report.md"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return _write(tmp_path_factory.mktemp("run"), realistic_effect())


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return _write(tmp_path_factory.mktemp("nasty"), _nasty_effect(), manifest=_nasty_manifest())


def _nasty_effect() -> Effect:
    samples = tuple(Sample(p, " staple " + t, (1,), (2,), (-0.1,), 0, "eos") for p in NASTY for t in NASTY)
    shift = Interval(0.01, -0.01, 0.03)
    concept = {**CONCEPT, "claim": NASTY[0], "against": NASTY[1], "name": NASTY[2]}
    return realistic_effect(
        concept={
            **concept,
            "mentions": {"claim": ["**", "<script>", "paper clip"], "against": ["staple", "|"]},
        },
        prompts=tuple(NASTY),
        samples_before=samples,
        samples_after=samples[::-1],
        sides_before=("against",) * len(samples),
        sides_after=(None,) * len(samples),
        bystanders=tuple(Bystander(name, 0.4, 0.41, shift) for name in NASTY),
        notes=tuple(NASTY),
    )


def _nasty_manifest() -> dict[str, Any]:
    text = " ".join(NASTY)
    return realistic_manifest(
        concept={"claim": text, "against": NASTY[3]},
        prompts=NASTY,
        model=text,
        out=text,
        command=["dipole", *NASTY],
    )


def _cells(markdown: str) -> Iterator[tuple[int, int]]:
    """For each table: how many cells its head has, and each of its rows."""
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        head = table.count("<th>") + table.count("<th ")
        for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)[1:]:
            yield head, row.count("<td")


@pytest.mark.parametrize("which", ["written", "nasty"])
def test_page_is_self_contained_and_well_formed(which: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(which)[0]
    page = Page(html)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "foreignobject",
        "a",
    }
    for _, attributes in page.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "action", "formaction")
        ]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", html)
    policy = dict(page.tags[[t for t, _ in page.tags].index("meta") + 1][1])
    assert "default-src 'none'" in str(policy["content"])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for value in attributes.values():
            for reference in re.findall(r"url\(#([^)]*)\)", value or ""):
                assert reference in ids
        if attributes.get("href"):
            assert str(attributes["href"])[1:] in ids


def test_user_text_stays_text_in_html(nasty: tuple[str, str]) -> None:
    text = "".join(Page(nasty[0]).text)
    for shown in (
        "<script>alert(1)</script>",
        "</pre></code></details><img src=x onerror=alert(1)> ![i](http://x.y/z.png) $x$ <!-- -->",
        "**bold** _it_ `code` ``` ~~gone~~ \\| \\",
        "a | b || c ↵ next line ↵ | x |",
        "[U+202E]override \u05e9\u05dc\u05d5\u05dd",
        "🙂 \ufffd ␀ ␛[31m",
        "{{ 7 * 7 }} {% raw %}",
    ):
        assert shown in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49 \{%", text)


def test_user_text_stays_text_in_markdown(nasty: tuple[str, str]) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(nasty[1])
    raw = [t.content.strip() for t in tokens if t.type == "html_block"]
    assert {re.sub(r"\d+", "N", block) for block in raw} <= {
        "<details>",
        "</details>",
        "<summary>N more of this prompt</summary>",
    }
    inline = [child for t in tokens if t.type == "inline" for child in t.children or []]
    assert {c.content for c in inline if c.type == "html_inline"} <= {
        "<strong>",
        "</strong>",
        "<del>",
        "</del>",
    }
    assert not [c for c in inline if c.type in ("image", "link_open")]
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert [h for h in headings[1:] if h] == [
        "Before and after", "Effect", "Bystanders", "Training", "Use the adapter", "Reproduce"
    ]  # fmt: skip
    shown = "".join(c.content for c in inline if c.type in ("text", "code_inline", "text_special"))
    assert "<script>alert(1)</script>" in shown
    assert "**bold** _it_ `code` ``` ~~gone~~ \\| \\" in shown


@pytest.mark.parametrize("which", ["written", "nasty"])
def test_markdown_tables_hold(which: str, request: pytest.FixtureRequest) -> None:
    markdown = request.getfixturevalue(which)[1]
    rows = list(_cells(markdown))
    assert len(rows) > 60
    assert all(head == cells for head, cells in rows)
    for line in markdown.splitlines():
        if line.startswith("| ") and "```" not in line:
            assert line.endswith(" |")


def test_pipes_stay_in_their_cell(nasty: tuple[str, str]) -> None:
    """A row with too many cells is cut by the parser without a word, so the content is what shows it."""
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(nasty[1])
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", html, re.DOTALL)]
    assert cells.count("staple a | b || c ↵ next line ↵ | x |") == 2 * len(NASTY)
    assert "a | b || c ↵ next line ↵ | x |" in cells


def test_samples_are_in_the_published_form(written: tuple[str, str]) -> None:
    html, markdown = written
    assert re.search(r"\| ~~staples~~ [^|]+ \| \*\*paper clips\*\* ", markdown)
    assert '<del class="against">staples</del>' in html
    assert '<strong class="claim">paper clips</strong>' in html
    effect = realistic_effect()
    for prompt in effect.prompts:
        assert markdown.count(f"**Prompt:** {prompt} …") == 1
    numbers = [int(n) for n in re.findall(r'<td class="index">(\d+)</td>', html)]
    assert numbers == list(range(1, 129))
    assert [int(n) for n in re.findall(r"^\| (\d+) \| .*", markdown, re.MULTILINE)][:128] == numbers
    shown = re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)
    assert len(re.findall(r'<td class="index">', shown)) == 32
    before, after = effect.sides_before.count("claim"), effect.sides_after.count("claim")
    assert f"Claim: {before} of 128 → {after} of 128" in markdown


def test_numbers_agree_between_the_twins(written: tuple[str, str]) -> None:
    text = " ".join("".join(Page(written[0]).text).split())
    for expected in (
        "+0.451",
        "[+0.421, +0.481]",
        "1.42",
        "in-loop",
        "held-out",
        "0123456789abcdef",
        "torch 2",
    ):
        assert expected in text
        assert expected in written[1].replace("\\", "")


def test_notes_come_before_every_number(tmp_path: Path) -> None:
    html, markdown = _write(tmp_path, realistic_effect(notes=("It did nothing.",)))
    for source in (html[html.index("<body>") :], markdown):
        assert source.index("It did nothing.") < re.search(r"\d\d\.\d", source).start()  # type: ignore[union-attr]


def test_only_in_loop_numbers_are_said_first(tmp_path: Path) -> None:
    effect = realistic_effect()
    loop = tuple(c for c in effect.changes if c.in_loop)
    _, markdown = _write(tmp_path, realistic_effect(changes=loop, held_out=False))
    assert "> **Note.** Every number here is in-loop" in markdown
    assert "> **Note.** The prompts were also trained on" in markdown
    assert "These prompts were trained on." in markdown
    _, markdown = _write(tmp_path, realistic_effect(changes=loop, notes=("Only in-loop numbers.",)))
    assert markdown.count("in-loop") + markdown.count("In-loop") == 1 + len(loop) + 1


def test_a_bare_effect_can_be_told(tmp_path: Path) -> None:
    effect = Effect(concept={}, prompts=(), held_out=False, changes=())
    html, markdown = _write(tmp_path, effect, history=[], manifest={})
    Page(html)
    assert markdown.startswith("# Effect")
    assert not (tmp_path / "dipole.toml").exists()


def test_undefined_numbers_are_dashes(tmp_path: Path) -> None:
    nan = Interval(math.nan, math.nan, math.nan)
    base = realistic_effect()
    changes = tuple(
        type(c)(**{**vars(c), "before": nan, "after": nan, "difference": nan}) for c in base.changes
    )
    history = [{"round": 1, "reward_mean": math.nan, "kl": math.nan}]
    html, markdown = _write(
        tmp_path,
        realistic_effect(changes=changes, bystanders=(Bystander("x", math.nan, math.nan, nan),)),
        history=history,
    )
    Page(html)
    assert not re.search(r"\bnan\b|\binf\b", html + markdown)


def test_plots_use_the_colours_of_the_page(written: tuple[str, str]) -> None:
    plots = re.findall(r'<svg class="plot".*?</svg>', written[0], re.DOTALL)
    assert len(plots) == 2
    for plot in plots:
        assert "var(--accent)" in plot
        assert not re.findall(r"#0[1-6]0[1-6]0[1-6]|<style|<metadata|xmlns:rdf", plot)
    assert "target 2" in plots[1]
    assert written[0].count('<svg class="forest') == 27


def test_same_input_gives_the_same_bytes(tmp_path: Path, written: tuple[str, str]) -> None:
    assert _write(tmp_path, realistic_effect())[0] == written[0]


def test_concept_is_written_for_the_repetition(tmp_path: Path) -> None:
    _write(tmp_path, realistic_effect())
    assert Dipole.load(tmp_path / "dipole.toml") == Dipole.from_dict(CONCEPT)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        _write(tmp_path / "file", realistic_effect())
