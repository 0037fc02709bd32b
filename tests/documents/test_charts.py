"""The charts of docs/benchmarks.md."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.report.chart import bars

SVG = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_long_as_its_number_says_and_shows_it():
    drawn = ElementTree.fromstring(
        bars("µs & more", {"ours": [2, 4], "theirs": [8, None]}, ["seal", "open"], unit="x", line=1)
    )

    legend, widths = 2, [float(bar.get("width", 0)) for bar in drawn.iter(f"{SVG}rect")]
    short, middle, long = widths[legend:]
    assert (round(middle / short, 2), round(long / short, 2)) == (2, 4)
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert texts[0] == "µs & more"
    assert {"2x", "4x", "8x", "ours", "theirs", "seal", "open"} <= set(texts)
    assert len(list(drawn.iter(f"{SVG}line"))) == 1
