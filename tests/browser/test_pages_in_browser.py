"""Pages as a browser shows them: nothing from outside, readable at any width, by keyboard and by screen reader."""

import itertools

import pytest
from opening import EVIL, NARROW, WIDE, open_details, until

NAMES = ("participant", "group")
HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => [Number(h.tagName[1]), h.textContent.trim()])"
NAMELESS = """[...document.querySelectorAll('img, canvas, svg, [role=img]')].filter((e) =>
  !(e.getAttribute('alt') || e.getAttribute('aria-label') || '').trim() && e.getAttribute('aria-hidden') !== 'true'
).map((e) => e.outerHTML.slice(0, 120))"""
UNLABELLED = """[...document.querySelectorAll('input, button, [tabindex="0"]')].filter((e) =>
  !(e.getAttribute('aria-label') || [...(e.labels || [])].map((l) => l.textContent).join('') || e.textContent).trim()
).map((e) => e.outerHTML.slice(0, 120))"""
CONTRASTS = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const over = (a, b) => [0, 1, 2].map((i) => a[3] * a[i] + (1 - a[3]) * b[i]);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const lit = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => sum + share * linear(c[i] / 255), 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, style = getComputedStyle(e);
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest('svg, script, style, .hidden')) continue;
    if (e.closest('label')?.querySelector('input:disabled')) continue;
    const grounds = [];
    for (let p = e; p; p = p.parentElement) {
      const colour = parse(getComputedStyle(p).backgroundColor);
      if (colour[3] > 0) grounds.push(colour);
      if (colour[3] === 1) break;
    }
    const root = parse(getComputedStyle(document.body).backgroundColor);
    const ground = grounds.reverse().reduce((below, colour) => over(colour, below), root.slice(0, 3));
    const front = parse(style.color), shade = [...front.slice(0, 3), front[3] * Number(style.opacity)];
    const [a, b] = [lit(over(shade, ground)), lit(ground)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.textContent.trim().slice(0, 40), e.className || e.tagName]);
  }
  return found;
}"""
OUTLINED = """() => {
  const e = document.activeElement, hidden = e.matches('fieldset input'), shown = hidden ? e.nextElementSibling : e;
  const style = getComputedStyle(shown);
  return { name: e.outerHTML.slice(0, 90), at_end: e === document.body,
    visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
}"""


@pytest.mark.parametrize("name", [*NAMES, "hostile", "hostile_group"])
def test_nothing_leaves_the_page_and_nothing_is_complained_of(visit, pages, name):
    opened = visit(name)
    open_details(opened.page)
    until(opened.page, "[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    outside = [url for url in opened.requests if not url.startswith("data:image/")]
    assert outside == [pages[name].as_uri()]
    assert opened.problems == []


@pytest.mark.parametrize("name", ["hostile", "hostile_group"])
def test_names_are_shown_and_do_nothing(visit, name):
    page = visit(name).page
    assert page.locator("h1").text_content() == EVIL
    assert page.title() != "1"
    assert page.locator("[onerror]").count() == 0 and page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_headings_go_down_by_single_steps(visit, name):
    levels = visit(name).page.evaluate(HEADINGS)
    assert [level for level, _ in levels].count(1) == 1 and levels[0][0] == 1
    for (before, _), (after, words) in itertools.pairwise(levels):
        assert after <= before + 1, words
        assert words


@pytest.mark.parametrize("name", NAMES)
def test_pictures_and_controls_have_names(visit, name):
    page = visit(name).page
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(UNLABELLED) == []
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", NAMES)
def test_only_tables_scroll_sideways(visit, name, viewport):
    page = visit(name, viewport=viewport).page
    open_details(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_text_stands_out(visit, name, scheme):
    """At least 4.5 : 1, as WCAG 1.4.3 asks of small text."""
    found = visit(name, scheme=scheme).page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [(round(ratio, 2), *what) for ratio, *what in found if ratio < 4.5] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_stop_of_the_keyboard_is_seen(visit, name):
    page, stops = visit(name).page, []
    for _ in range(300):
        page.keyboard.press("Tab")
        stop = page.evaluate(OUTLINED)
        if stop["at_end"]:
            break
        stops.append(stop)
    assert len(stops) > 10 and stop["at_end"]
    assert [stop["name"] for stop in stops if not stop["visible"]] == []
