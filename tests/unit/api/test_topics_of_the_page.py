"""The page and the server hold one list of topics each: they must say the same."""

from __future__ import annotations

import re
from pathlib import Path

from shoal.api.live.topics import TOPICS

PAGE = Path(__file__).parents[3] / "web" / "src" / "live" / "topics.ts"


def test_topics_of_the_page_are_those_of_the_server() -> None:
    text = PAGE.read_text()
    table = text[text.index("TOPICS = {") : text.index("} as const")]
    rows = re.findall(r"^  (\w+): \[([^\]]*)\]", table, flags=re.MULTILINE)
    of_page = {name: tuple(re.findall(r'"(\w+)"', parts)) for name, parts in rows}
    assert of_page == dict(TOPICS)
