"""The page: whole, without a network, with everything escaped; in Chromium where it is installed."""

import html.parser
import json
import random
import re

import numpy as np
import pytest
import soundfile
from browser import INSTALLED, Browser

from speechxfer.report.html import ReportAudio, _choose_axis, write_html_report
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.labels import score_labels

TAB, ENTER = "\ue004", "\ue007"
FITS = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>document.title='owned'</script>",
    "evil \u202etxt.exe",
    "w" * 10_000,
    "שלום עולם",
    "日本語 テキスト",
    "{{ 7 * 7 }} ${7*7} <!-- --> &lt;b&gt;",
]


@pytest.fixture(scope="module")
def page():
    if not INSTALLED:
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    with Browser() as browser:
        yield browser


def hostile(path, **more):
    ids = [f"u{i}" for i in range(len(HOSTILE) - 1)] + ["</script><b onclick=x>"]
    columns = {"accent": ["<i>x</i>", "y\u202e"] + ["z"] * (len(HOSTILE) - 2)}
    options = ScoringOptions(normaliser="none")
    before = score(HOSTILE, ["nothing"] * len(HOSTILE), ids=ids, columns=columns, by="auto", options=options)
    after = score(HOSTILE, HOSTILE, ids=ids, columns=columns, by="auto", options=options)
    write_html_report(
        path, "Report <script>1</script>", {"before <b>": before, "after": after},
        facts={"<key>": "</dl><script>1</script>"}, warnings=["<script>2</script>"],
        advice=[{"action": "<script>3</script>", "evidence": "<script>4</script>"}], **more,
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
        and parser.tags.count("b") == len(re.findall(r'<b class="mark', text))
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
    write_html_report(tmp_path / "r.html", "t", {"x": score(["a b", "c d"], ["a", "c d"], speakers=["s", "t"])})
    text = (tmp_path / "r.html").read_text()
    shown = re.sub(r"\s+", " ", text)
    assert "25.0 %" in shown and "1 error in 4 words of 2 utterances" in shown and "over 2 speakers" in shown


def test_audio_is_linked_where_it_lies_or_put_inside(tmp_path):
    wave = tmp_path / "a b:1.wav"
    soundfile.write(wave, np.zeros(1600), 16_000)
    found = score(["a", "b", "c"], ["x", "b", "c"], ids=["1", "2", "3"])
    audio = ReportAudio({"1": str(wave), "2": f"{wave}#1.5-3", "3": "none.wav"}, num_embedded=1)
    write_html_report(tmp_path / "r.html", "t", {"x": found}, audio=audio)
    data = json.loads(re.search(r'(?s)id="data">(.*?)</script>', (tmp_path / "r.html").read_text())[1])
    sources = {row["id"]: row.get("a") for row in data["rows"]}
    assert re.match(r"data:audio/[\w.-]+;base64,", sources["1"])
    assert sources["2"] == "./a%20b%3A1.wav#t=1.5,3" and sources["3"] is None


def test_three_systems_are_compared_with_holms_correction(tmp_path):
    texts = ["a b c d e"] * 30
    speakers = [f"s{i}" for i in range(30)]
    some = {name: score(texts, [text] * 30, speakers=speakers) for name, text in
            (("x", "a b c d e"), ("y", "a b c d q"), ("z", "a b c q q"))}  # fmt: skip
    write_html_report(tmp_path / "r.html", "t", some)
    lines = re.findall(r'<p class="comparison">(.*?)</p>', (tmp_path / "r.html").read_text())
    assert len(lines) == 3 and all("(Holm " in line and "MAPSSWE" in line for line in lines)


def test_a_chart_shows_what_a_person_would_read(tmp_path):
    n = 60
    columns = {
        "accent": ["few" if i < 8 else "many" for i in range(n)],
        "duration": [f"{1 + i / 10}" for i in range(n)],
        "client_id": [f"s{i % 30}" for i in range(n)],
    }
    found = score(
        [f"a b c{i}" for i in range(n)],
        [f"a b c{i}" if i % 4 else "a" for i in range(n)],
        speakers=[f"s{i % 30}" if i >= 8 else f"s{i % 2}" for i in range(n)],
        columns=columns,
        by="auto",
    )
    write_html_report(tmp_path / "r.html", "t", {"x": found}, warnings=found.warnings)
    text = (tmp_path / "r.html").read_text()
    heads = re.findall(r"<h2>By <bdi>(\w+)</bdi>", text)
    assert heads[0] == "accent" and heads[-1] == "speaker" and "duration" not in heads
    assert "no interval from fewer than 5 speakers: accent few" in text
    row = re.search(r"<bdi>few</bdi>.*?</tr>", text, re.S)[0]
    assert "<i " not in row and "25.0" not in row.split("</td>")[0] and " to " not in row
    assert found.to_json()["by"]["accent"]["few"]["interval"] is None
    assert 'class="track"><div><i style="left:' in text  # the others have one


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.11, 0.27, 0.9, 1.7])
def test_the_axis_holds_every_rate_on_round_numbers(rate):
    words = 1000
    wrong = round(rate * words)
    found = score(["a " * words], ["b " * min(wrong, words) + "a " * (words - wrong) + "c " * max(0, wrong - words)])
    top, step = _choose_axis([found.overall])
    assert top >= min(rate, 2) and 1 <= round(top / step) <= 8
    assert f"{step:.1e}"[:3] in ("1.0", "2.0", "2.5", "5.0")


def test_hostile_texts_stay_text(tmp_path, page):
    hostile(tmp_path / "report.html")
    page.look(1000)
    page.open(tmp_path / "report.html")
    assert page.console() == []
    assert page.run("return document.title").startswith("Report <script>1</script>")
    assert page.run("return document.querySelectorAll('img').length") == 0
    shown = page.run("return document.getElementById('rows').innerText")
    assert "<img src=x onerror=alert(1)>" in shown and "[U+202E]" in shown and "\u202e" not in shown
    assert "{{ 7 * 7 }}" in shown and "שלום" in shown
    assert page.run(FITS)


def test_filter_sort_search_and_play(tmp_path, page):
    wave = tmp_path / "a.wav"
    soundfile.write(wave, 0.1 * np.sin(np.arange(32_000) / 20), 16_000)
    n = 150
    references = [f"word{i} b c" for i in range(n)]
    hypotheses = [f"word{i} b c" if i % 3 else f"word{i}" for i in range(n)]
    groups = {"accent": ["uk" if i % 2 else "us" for i in range(n)], "duration": [str(1 + i / 9) for i in range(n)]}
    ids = [f"u{i:03}" for i in range(n)]
    found = score(references, hypotheses, ids=ids, columns=groups, by="auto")
    write_html_report(tmp_path / "r.html", "t", {"x": found}, audio=ReportAudio({"u000": str(wave)}))
    page.look(390)
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
    assert page.run("return [...document.querySelectorAll('#groups label')].map(l => l.firstChild.data)") == ["accent "]
    page.run(choose, "filter", "with errors")
    assert page.run(count).startswith("50 of 150")
    page.run(choose, "group", "us")
    assert page.run(count).startswith("25 of 150")
    page.run(choose, "filter", "without errors")
    page.run(choose, "sort", "by id")
    assert page.run(first).startswith("u002")
    page.run("document.querySelector('#search').focus()")
    page.press("word100")
    page.wait_for("return document.getElementById('count').textContent.startsWith('1 of 150')")
    page.run("document.getElementById('search').value = ''")
    page.run(choose, "filter", "with errors")
    page.run("document.querySelector('audio').play()")
    page.wait_for("const a = document.querySelector('audio'); return a.currentTime > 0 && a.error === null")
    assert page.console() == []
    assert page.run(FITS)


def test_the_keyboard_reaches_everything(tmp_path, page):
    texts = [f"word{i} b c" for i in range(20)]
    found = score(texts, [t[:-1] + "d" if i % 2 else t for i, t in enumerate(texts)], ids=[f"u{i}" for i in range(20)])
    write_html_report(tmp_path / "r.html", "t", {"x": found})
    page.look(1000)
    page.open(tmp_path / "r.html")
    page.press(TAB)
    assert page.run("return document.activeElement.className") == "skip"
    seen = []
    for _ in range(15):
        page.press(TAB)
        seen.append(page.run("const e = document.activeElement; return e.id || e.className || e.tagName"))
    assert seen[:2] == ["SUMMARY", "find"] and [s for s in seen if s in ("search", "filter", "sort")] == [
        "search",
        "filter",
        "sort",
    ]
    page.run("document.activeElement.blur()")
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"
    page.run("document.querySelector('.find[data-id=u3]').focus()")
    page.press(ENTER)  # one of the worst utterances, found in the list
    assert page.run("return document.querySelectorAll('#rows > li').length") == 1
    assert page.run("return document.querySelector('#rows .head').innerText").startswith("u3")


def test_words_run_as_their_script_does(tmp_path, page):
    references = ["שלום עולם טוב", "hello big world", "مرحبا ok العالم", "123 456 789"]
    found = score(references, references, options=ScoringOptions(normaliser="none"))
    write_html_report(tmp_path / "r.html", "t", {"x": found})
    page.look(1000)
    page.open(tmp_path / "r.html")
    places = page.run(
        "return [...document.querySelectorAll('#rows .words')]"
        ".map(w => [...w.querySelectorAll('bdi')].map(b => b.getBoundingClientRect().x))"
    )
    assert [p == sorted(p) for p in places] == [False, True, False, True]
    assert [p == sorted(p, reverse=True) for p in places] == [True, False, True, False]


def test_right_words_that_are_not_equal_are_shown_as_said(tmp_path, page):
    found = score(["(uh) hel- { a / the } x"], ["hello the y"], options=ScoringOptions(notation=True))
    write_html_report(tmp_path / "r.html", "t", {"x": found})
    page.open(tmp_path / "r.html")
    words = page.run("return [...document.querySelectorAll('#rows .words > *')].map(e => e.innerText + '|' + e.title)")
    assert words == ["(uh)|optional, left out", "hello|correct: hel", "the|", "yx|substituted for x"]


def test_in_the_dark_and_on_a_phone(tmp_path, page):
    columns = {"a very long name of a column": [f"a value of many words {i % 3}" for i in range(30)]}
    texts = ["a b c"] * 30
    some = {name: score(texts, [text] * 30, columns=columns, by="auto") for name, text in (("x", "a"), ("y", "a b"))}
    write_html_report(tmp_path / "r.html", "t", some)
    page.open(tmp_path / "r.html")
    contrast = """
        const lightness = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
        const paper = lightness(getComputedStyle(document.body).backgroundColor);
        return ['body', '.S', '.D', '.I', '.name', '.head', 'small'].map((selector) => {
            const ink = lightness(getComputedStyle(document.querySelector(selector)).color);
            return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
        });
    """
    papers = []
    for dark in (False, True):
        page.look(390, dark=dark)
        assert page.run(FITS)
        assert min(page.run(contrast)) >= 4.5  # WCAG 2, level AA
        papers.append(page.run("return getComputedStyle(document.body).backgroundColor"))
    assert papers[0] == "rgb(255, 255, 255)" != papers[1]


def test_ten_thousand_utterances_open(tmp_path, page):
    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(2000)]
    references = [" ".join(rng.choices(vocabulary, k=10)) for _ in range(10_000)]
    hypotheses = [" ".join(w if rng.random() > 0.16 else rng.choice(vocabulary) for w in t.split()) for t in references]
    speakers = [f"s{i % 125}" for i in range(10_000)]
    write_html_report(tmp_path / "r.html", "t", {"x": score(references, hypotheses, speakers=speakers, by="auto")})
    page.look(1000)
    page.devtools("Performance.enable", timeDomain="threadTicks")  # the processor's time, whatever else runs
    page.open(tmp_path / "r.html")
    found = {m["name"]: m["value"] for m in page.devtools("Performance.getMetrics")["metrics"]}
    assert page.run("return document.getElementById('count').textContent") == "10000 of 10000 utterances, 100 shown"
    assert page.console() == []
    assert 0 < found["TaskDuration"] < 3


def test_advice_and_the_learning_curve(tmp_path):
    some = {"after": score(["a b"], ["a b"], ids=["u"])}
    curve = [{"share": 0.5, "hours": 1.25, "utterances": 1200, "dev": 0.25}]
    advice = [{"action": "train longer", "evidence": "dev 20.0% in the last epoch"}]
    write_html_report(tmp_path / "with.html", "t", some, advice=advice, curve=curve)
    text = (tmp_path / "with.html").read_text(encoding="utf-8")
    assert "<li>train longer <small>dev 20.0% in the last epoch</small></li>" in text
    cells = (
        '<th scope="row">50 %</th>',
        '<td class="n">1.25</td>',
        '<td class="n">1,200</td>',
        '<td class="n">25.0 %</td>',
    )
    assert "".join(cells) in text
    write_html_report(tmp_path / "without.html", "t", some)
    text = (tmp_path / "without.html").read_text(encoding="utf-8")
    assert "<h2>Advice</h2>" not in text and "<h2>Learning curve</h2>" not in text


def test_labels_have_an_accuracy_and_a_confusion_matrix(tmp_path):
    """By hand: three of four right, `two` never predicted; no rate of words is named."""
    rooms = {"room": ["a", "a", "b", "b"]}
    found = score_labels(["<one>", "<one>", "<one>", "two"], ["<one>"] * 4, columns=rooms, by=["room"])
    curve = [{"share": 0.5, "hours": 0.1, "utterances": 4, "dev": 0.25, "metric": "balanced accuracy"}]
    write_html_report(tmp_path / "report.html", "labels", {"after": found}, curve=curve)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]+>", " ", page.split("<script")[0]).split())
    assert "75.0 % accuracy" in text and "balanced accuracy 50.0 %" in text and "Never predicted: two" in text
    assert "3 of 4 labels correct" in text and "dev balanced accuracy" in text
    assert re.search(r"dev balanced accuracy .* 75\.0 %", text)
    assert "&lt;one&gt; 100.0 % 3 75.0 % 3" in text and "two 0.0 % 1 – 1" in text
    assert re.search(r"a 100\.0 % 0 / 2", text) and re.search(r"b 50\.0 % 1 / 2", text)
    for word in ("WER", "CER", "MER", "normalisation", "words"):
        assert word not in text
