"""The page: whole, without a network, with everything escaped; in Chromium where it is installed."""

import html.parser
import json
import random
import re
import time

import numpy as np
import pytest
import soundfile
from browser import INSTALLED, Browser

from speechxfer.report.html import write_report
from speechxfer.scoring import score

needs_chromium = pytest.mark.skipif(not INSTALLED, reason="Debian's chromium and chromium-driver are not installed")
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>document.title='owned'</script>",
    "evil \u202etxt.exe",
    "w" * 10_000,
    "שלום עולם",
    "日本語 テキスト",
    "{{ 7 * 7 }} ${7*7} <!-- --> &lt;b&gt;",
]


def hostile(path, **more):
    ids = [f"u{i}" for i in range(len(HOSTILE) - 1)] + ["</script><b onclick=x>"]
    columns = {"accent": ["<i>x</i>", "y\u202e"] + ["z"] * (len(HOSTILE) - 2)}
    before = score(HOSTILE, ["nothing"] * len(HOSTILE), ids, columns=columns, by="auto", normaliser="none")
    after = score(HOSTILE, HOSTILE, ids, columns=columns, by="auto", normaliser="none")
    write_report(
        path, "Report <script>1</script>", {"before <b>": before, "after": after},
        facts={"<key>": "</dl><script>1</script>"}, warnings=["<script>2</script>"], **more,
    )  # fmt: skip


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href") and value]


def test_one_file_without_foreign_tags_or_links(tmp_path):
    hostile(tmp_path / "deep" / "report.html")
    text = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(text)
    assert (
        "img" not in parser.tags
        and parser.tags.count("script") == 2
        and parser.tags.count("b") == len(re.findall(r'<b style="left', text))
    )
    assert all(link.startswith(("data:", "#")) for link in parser.links)
    assert "\u202e" not in re.sub(r'(?s)<script type="application/json".*?</script>', "", text)
    assert "default-src 'none'" in text


def test_the_data_holds_every_utterance(tmp_path):
    hostile(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    block = re.search(r'(?s)<script type="application/json" id="data">(.*?)</script>', text)[1]
    assert "<" not in block
    data = json.loads(block)
    assert len(data["rows"]) == len(HOSTILE) and data["rows"][-1]["id"] == "</script><b onclick=x>"


def test_headline_holds_rate_counts_and_interval(tmp_path):
    write_report(tmp_path / "r.html", "t", {"x": score(["a b", "c d"], ["a", "c d"], speakers=["s", "t"])})
    text = (tmp_path / "r.html").read_text()
    assert "25.0 %" in text and "1 errors in 4 words" in re.sub(r"\s+", " ", text) and "over 2 speakers" in text


def test_audio_is_linked_where_it_lies_or_put_inside(tmp_path):
    wave = tmp_path / "a b:1.wav"
    soundfile.write(wave, np.zeros(1600), 16_000)
    found = score(["a", "b", "c"], ["x", "b", "c"], ["1", "2", "3"])
    write_report(
        tmp_path / "r.html", "t", {"x": found}, audio={"1": str(wave), "2": f"{wave}#1.5-3", "3": "none.wav"}, embed=1
    )
    data = json.loads(re.search(r'(?s)id="data">(.*?)</script>', (tmp_path / "r.html").read_text())[1])
    sources = {row["id"]: row.get("a") for row in data["rows"]}
    assert re.match(r"data:audio/[\w.-]+;base64,", sources["1"])
    assert sources["2"] == "./a%20b%3A1.wav#t=1.5,3" and sources["3"] is None


@needs_chromium
def test_hostile_texts_stay_text(tmp_path):
    hostile(tmp_path / "report.html")
    with Browser() as page:
        page.open(tmp_path / "report.html")
        assert page.console() == []
        assert page.run("return document.title").startswith("Report <script>1</script>")
        assert page.run("return document.querySelectorAll('img').length") == 0
        shown = page.run("return document.getElementById('rows').innerText")
        assert "<img src=x onerror=alert(1)>" in shown and "[U+202E]" in shown and "\u202e" not in shown
        assert "{{ 7 * 7 }}" in shown and "שלום" in shown
        wide = page.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1]


@needs_chromium
def test_filter_sort_search_and_play(tmp_path):
    wave = tmp_path / "a.wav"
    soundfile.write(wave, 0.1 * np.sin(np.arange(32_000) / 20), 16_000)
    n = 150
    references = [f"word{i} b c" for i in range(n)]
    hypotheses = [f"word{i} b c" if i % 3 else f"word{i}" for i in range(n)]
    groups = {"accent": ["uk" if i % 2 else "us" for i in range(n)]}
    ids = [f"u{i:03}" for i in range(n)]
    found = score(references, hypotheses, ids, columns=groups, by="auto")
    write_report(tmp_path / "r.html", "t", {"x": found}, audio={"u000": str(wave)})
    with Browser(width=390) as page:
        page.open(tmp_path / "r.html")
        count = "return document.getElementById('count').textContent"
        first = "return document.querySelector('#rows li .head').innerText"
        choose = (
            "const s = arguments[0] === 'group' ? document.querySelector('#groups select') : "
            "document.getElementById(arguments[0]); s.value = [...s.options].find(o => o.text === arguments[1]).value;"
            "s.dispatchEvent(new Event('change'));"
        )
        assert page.run(count) == "150 of 150 utterances, 100 shown"
        page.run("document.getElementById('more').click()")
        assert page.run(count) == "150 of 150 utterances, 150 shown"
        page.run(choose, "filter", "with errors")
        assert page.run(count).startswith("50 of 150")
        page.run(choose, "group", "us")
        assert page.run(count).startswith("25 of 150")
        page.run(choose, "filter", "without errors")
        page.run(choose, "sort", "by id")
        assert page.run(first).startswith("u002")
        page.run(
            "const s = document.getElementById('search'); s.value = 'word100'; s.dispatchEvent(new Event('input'))"
        )
        time.sleep(0.4)
        assert page.run(count).startswith("1 of 150")
        page.run("document.getElementById('search').value = ''")
        page.run(choose, "filter", "with errors")
        page.run("document.querySelector('audio').play()")
        time.sleep(0.7)
        at, error = page.run("const a = document.querySelector('audio'); return [a.currentTime, a.error]")
        assert at > 0 and error is None
        assert page.console() == []
        # every control is reached by the keyboard, and nothing is wider than a phone
        assert page.run("return [...document.querySelectorAll('input, select, button')].every(e => e.tabIndex >= 0)")
        assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@needs_chromium
def test_ten_thousand_utterances_open(tmp_path):
    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(2000)]
    references = [" ".join(rng.choices(vocabulary, k=10)) for _ in range(10_000)]
    hypotheses = [" ".join(w if rng.random() > 0.16 else rng.choice(vocabulary) for w in t.split()) for t in references]
    speakers = [f"s{i % 125}" for i in range(10_000)]
    write_report(tmp_path / "r.html", "t", {"x": score(references, hypotheses, speakers=speakers, by="auto")})
    with Browser() as page:
        page.open(tmp_path / "r.html")
        assert page.run("return document.getElementById('count').textContent") == "10000 of 10000 utterances, 100 shown"
        assert page.console() == []
        loaded = page.run("return performance.timing.loadEventEnd - performance.timing.navigationStart")
        print(f"10,000 utterances open in {loaded} ms")
