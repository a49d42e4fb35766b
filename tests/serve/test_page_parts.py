# SPDX-License-Identifier: MIT
"""Parts of the page by themselves, in a real browser: events, Markdown, speeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import PROGRAM, Chromium, Page
from test_page import SERVER, serving

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium, which `make chromium` installs"),
    pytest.mark.skipif(not SERVER.exists(), reason=f"needs {SERVER}"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serving() as server:
        with Chromium(tmp_path_factory.mktemp("chromium") / "profile") as chromium:
            page = chromium.page(server.url)
            page.until("document.getElementById('state-text').textContent === 'Ready'")
            page.evaluate(
                "(async () => { for (const part of ['stream', 'markdown', 'sparkline'])"
                " Object.assign(globalThis, await import(`/page/${part}.js`)) })()"
            )
            yield page
            assert chromium.faults == []


READ = """(async (bytes, size) => {
  const data = Uint8Array.from(bytes);
  const body = new ReadableStream({start(controller) {
    for (let i = 0; i < data.length; i += size) controller.enqueue(data.slice(i, i + size));
    controller.close();
  }});
  const found = [];
  for await (const event of events(new Response(body), () => {})) found.push(event);
  return found;
})"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data: a\n\n", [(None, "message", "a")]),
        ("id: 7\ndata: é😀\n\n", [("7", "message", "é😀")]),
        ("id: 7\r\nevent: end\r\ndata: a\r\n\r\n", [("7", "end", "a")]),
        (": ping\ndata: a\n: ping\ndata:b\n\n", [(None, "message", "a\nb")]),
        (": ping\n\n\ndata: a\n\n", [(None, "message", "a")]),
        ("id: 1\n\ndata: a\n\n", [(None, "message", "a")]),
        ("data\n\ndata: cut", [(None, "message", "")]),
        ("retry: 5\ndata:  two\n\n", [(None, "message", " two")]),
    ],
)
def test_events_are_read_whole_and_split(page: Page, text: str, found: list[Any]) -> None:
    data = list(text.encode())
    expected = [{"id": i, "event": event, "data": value} for i, event, value in found]
    for size in (len(data), 1, 2, 3, 5):
        assert page.evaluate(f"{READ}({data}, {size})") == expected


def html(page: Page, text: str) -> str:
    return str(
        page.evaluate(
            f"blocksOf({json.dumps(text)})"
            ".map(block => blockElement(block, () => {}).outerHTML).join('')"
            ".replaceAll(' class=\"\"', '')"
        )
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\n\nc", "<p>a\nb</p><p>c</p>"),
        ("**a** *b* `c`", "<p><strong>a</strong> <em>b</em> <code>c</code></p>"),
        ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
        ("2 * 3 * 4 and a_b_c and **", "<p>2 * 3 * 4 and a_b_c and **</p>"),
        ("`**a**`", "<p><code>**a**</code></p>"),
        ("``a ` b``", "<p><code>a ` b</code></p>"),
        ("# a\nb", "<h3>a</h3><p>b</p>"),
        ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> a\n> b", "<blockquote>a\nb</blockquote>"),
        ("---", "<hr>"),
        ("<b>a</b> &amp;", "<p>&lt;b&gt;a&lt;/b&gt; &amp;amp;</p>"),
        ("[a](javascript:b)", "<p>[a](javascript:b)</p>"),
        (
            "|a|b|\n|-|-|\n|1|`2`|",
            '<div class="table"><table><thead><tr><th>a</th><th>b</th></tr></thead>'
            "<tbody><tr><td>1</td><td><code>2</code></td></tr></tbody></table></div>",
        ),
    ],
)
def test_markdown(page: Page, text: str, shown: str) -> None:
    assert html(page, text) == shown


@pytest.mark.parametrize("end", ["", "\n", "\n```", "\n```\nafter"])
def test_code_is_shown_as_it_is_also_before_its_end(page: Page, end: str) -> None:
    shown = html(page, f"```python\nif a < b:\n\n    **c**{end}")
    assert "<pre><code>if a &lt; b:\n\n    **c**" in shown
    assert "<span>python</span>" in shown
    assert ("<p>after</p>" in shown) == end.endswith("after")


def test_every_beginning_of_a_text_is_shown_without_fault(page: Page) -> None:
    text = (
        "# a **b\n\n1. c `d\n   - e\n\n```x\n**f\n```\n|g|h|\n|-|-|\n|`i|*j|\n> k *l* **m**\n---\n"
    )
    found = page.evaluate(
        f"(text => {{ for (let i = 0; i <= text.length; i++) blocksOf(text.slice(0, i))"
        f".forEach(block => blockElement(block, () => {{}})); return true }})({json.dumps(text)})"
    )
    assert found is True


@pytest.mark.parametrize(
    "piece",
    [
        "**a ",
        "*a ",
        "`",
        "`a",
        "``a` ",
        "# ",
        "- ",
        "  - a\n",
        "|",
        "|-",
        "> ",
        "_ _ ",
        "\n",
        "** ",
    ],
)
def test_hostile_markdown_takes_no_long_time(page: Page, piece: str) -> None:
    """A pattern that took quadratic time would reach the time limit of the test."""
    size = 300_000
    assert page.evaluate(
        f"blocksOf({json.dumps(piece)}.repeat({size // len(piece)}))"
        ".map(block => blockElement(block, () => {})).length >= 0"
    )


def test_speed_is_that_of_the_tokens(page: Page) -> None:
    speeds = page.evaluate(
        """(() => {
          const real = performance.now.bind(performance);
          let now = 1000;
          performance.now = () => now;
          const meter = new Meter();
          meter.connected(false);
          for (let i = 0; i <= 200; i++, now += 10) meter.token();
          now -= 10;
          const found = [meter.now, meter.whole, ...meter.speeds(now)];
          meter.connected(true); // what comes at once is old
          for (let i = 0; i < 1000; i++) meter.token();
          now += 1000;
          for (let i = 0; i <= 20; i++, now += 50) meter.token();
          now -= 50;
          found.push(meter.whole);
          performance.now = real;
          return found;
        })()"""
    )
    now, whole, *line, later = speeds
    assert now == pytest.approx(100, rel=0.02)
    assert whole == pytest.approx(100)
    assert line == pytest.approx([100] * len(line), rel=0.25)
    assert later == pytest.approx(20)
