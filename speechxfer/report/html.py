"""One HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechxfer.scoring import Score

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title><h1>{{ title }}</h1>
{% for text in warnings %}<p><strong>Warning:</strong> {{ text }}</p>{% endfor %}
{% for name, score in systems.items() %}<h2>{{ name }}</h2><p>{{ score.summary() }}</p>{% endfor %}
<dl>{% for key, value in facts.items() %}<dt>{{ key }}</dt><dd>{{ value }}</dd>{% endfor %}</dl></html>
"""


def write_report(
    path: Path | str,
    title: str,
    systems: Mapping[str, Score],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    audio: Mapping[str, str] | None = None,
    embed: int = 0,
) -> None:
    """Write the report of one or more systems on the same utterances.

    audio: id to a file near the report, to be played.
    """
    import jinja2

    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    text = page.render(title=title, systems=systems, facts=facts or {}, warnings=warnings, audio=audio or {})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
