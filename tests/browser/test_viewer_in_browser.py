"""The viewer in a browser: three planes of one place, by pointer and by keys, and what is told of it."""

import numpy as np
import pytest
from made_up import make_report
from opening import until

from dlqsm.report.viewer import linked_viewer

PIXEL = """([plane, across, down]) => [...document.querySelectorAll('#viewer canvas')[plane].getContext('2d')
  .getImageData(across, down, 1, 1).data].slice(0, 3)"""
AXIAL, CORONAL, SAGITTAL = 0, 1, 2


@pytest.fixture(scope="module")
def report():
    return make_report()


@pytest.fixture(scope="module")
def expected(report):
    return linked_viewer(report)


@pytest.fixture
def page(visit):
    page = visit("participant").page
    until(page, "document.querySelector('#viewer .position').textContent")
    ready(page)
    return page


def ready(page):
    """Until the values of all arms are there."""
    until(page, "![...document.querySelectorAll('.here dd span')].some((s) => s.textContent === '–')")


def place(page):
    return tuple(map(int, page.locator("#viewer").get_attribute("data-place").split()))


def values(page):
    """Arm to what is told of it at the place."""
    names, texts = page.locator(".here dt"), page.locator(".here dd span")
    return dict(zip(names.all_text_contents(), texts.all_text_contents(), strict=True))


def settled(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def press(page, key, plane=AXIAL):
    page.locator("#viewer .frame").nth(plane).focus()
    page.keyboard.press(key)
    settled(page)


def captions(page):
    return page.locator("#viewer .caption span").all_text_contents()


def click(page, plane, across, down):
    """The middle of a pixel, counted in voxels of the plane."""
    frame, canvas = page.locator("#viewer .frame").nth(plane), page.locator("#viewer canvas").nth(plane)
    columns, rows = int(canvas.get_attribute("width")), int(canvas.get_attribute("height"))
    box = frame.bounding_box()
    x, y = (across + 0.5) / columns * box["width"], (down + 0.5) / rows * box["height"]
    frame.click(position={"x": x, "y": y})
    settled(page)


def test_opens_in_a_nucleus_and_tells_values_of_all_arms(page, report, expected):
    assert place(page) == tuple(expected.box["start"])
    assert page.locator(".here .nucleus").text_content() == "globus pallidus externa, left"
    position_mm = np.asarray(expected.box["affine"]) @ np.append(expected.box["start"], 1.0)
    arms = {arm.name: arm for arm in report.arms}
    shared = np.stack([arm.mask.numpy() for arm in report.arms]).all(axis=0)
    index = tuple(np.rint(np.linalg.solve(report.leading.grid.affine, np.append(position_mm, 1.0))[:3]).astype(int))
    for name, text in values(page).items():
        volume = report.leading.truth_chi_ppm if name == "truth" else arms[name].chi_ppm
        value_ppb = 1e3 * float(volume[index] - volume.numpy()[shared].mean())
        assert float(text.replace("−", "-")) == pytest.approx(value_ppb, abs=1.6), name


def test_a_click_moves_all_planes_to_the_place(page, expected):
    columns, rows, slices = expected.box["shape"]
    click(page, AXIAL, 10, 12)
    assert place(page)[:2] == (10, 12)
    click(page, CORONAL, 20, 3)
    assert place(page) == (20, 12, slices - 1 - 3), "the highest slice is the first row"
    click(page, SAGITTAL, 30, slices - 1)
    assert place(page) == (20, 30, 0)
    x, y, z = np.asarray(expected.box["affine"]) @ (20, 30, 0, 1)
    told = [float(text.replace("−", "-")[2:-3]) for text in captions(page)]
    assert told == pytest.approx([z, y, x], abs=0.51)
    path = page.locator("#viewer .cross").nth(AXIAL).get_attribute("d")
    assert path.startswith("M0 30.5H") and "M20.5 0V" in path
    assert rows > 30 and columns > 20


def test_a_drag_follows_the_pointer(page):
    box = page.locator("#viewer .frame").first.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    settled(page)
    first = place(page)
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"])
    settled(page)
    last = place(page)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    settled(page)
    assert last[0] > first[0] and last[1] > first[1] and last[2] == first[2]
    assert place(page) == last, "only while the button is held"


STEPS = (
    (AXIAL, "ArrowRight", (1, 0, 0)), (AXIAL, "ArrowUp", (0, -1, 0)), (AXIAL, "PageUp", (0, 0, 1)),
    (CORONAL, "ArrowLeft", (-1, 0, 0)), (CORONAL, "ArrowUp", (0, 0, 1)), (CORONAL, "PageDown", (0, 1, 0)),
    (SAGITTAL, "ArrowRight", (0, 1, 0)), (SAGITTAL, "ArrowDown", (0, 0, -1)), (SAGITTAL, "PageUp", (-1, 0, 0)),
)  # fmt: skip


def test_keys_move_by_one_voxel_and_home_leads_back(page):
    start = place(page)
    for plane, key, step in STEPS:
        press(page, key, plane)
        assert tuple(np.subtract(place(page), start)) == step, (plane, key)
        press(page, "Home", plane)
        assert place(page) == start


def test_sliders_move_the_plane_that_they_stand_under(page):
    before = place(page)
    for plane, step in ((AXIAL, (0, 0, 1)), (CORONAL, (0, -1, 0)), (SAGITTAL, (-1, 0, 0))):
        slider = page.locator("#viewer .plane .slide input").nth(plane)
        slider.focus()
        page.keyboard.press("ArrowRight")
        settled(page)
        assert tuple(np.subtract(place(page), before)) == step, "to the right is up, to the front, to the right"
        assert slider.get_attribute("aria-valuetext") == captions(page)[plane]
        before = place(page)


def test_the_place_is_announced_once_it_rests(page):
    press(page, "ArrowRight")
    until(page, "document.querySelector('#viewer [role=status]').textContent")
    told = page.locator("#viewer [role=status]").text_content()
    assert told.startswith(page.locator(".here .position").text_content()) and "PI2" in told and "ppb" in told
    label = page.locator("#viewer canvas").first.get_attribute("aria-label")
    assert label == f"Axial plane at {captions(page)[AXIAL]}: Susceptibility, A · PI2"


def grey_of(page, expected, layer, quantity=0, window=None):
    """Grey that a layer's pixel at the first place should have, and the one that the browser shows."""
    chosen = expected.quantities[quantity]
    low, high = window or (chosen.window.low, chosen.window.high)
    value = float(values(page)[layer].replace("−", "-")) / chosen.factor
    shown = page.evaluate(PIXEL, [AXIAL, *place(page)[:2]])
    assert shown[0] == shown[1] == shown[2]
    return 255 * min(1, max(0, (value - low) / (high - low))), shown[0]


def test_arms_maps_and_window_change_what_is_drawn(page, expected):
    wanted, shown = grey_of(page, expected, "PI2")
    assert shown == pytest.approx(wanted, abs=2)
    page.locator("[name=first] + span", has_text="DL4").click()
    settled(page)
    wanted, shown = grey_of(page, expected, "DL4")
    assert shown == pytest.approx(wanted, abs=2)
    assert page.locator("#viewer .caption b").first.text_content() == "A · DL4"
    page.locator("[name=width]").fill("100")
    settled(page)
    assert page.locator("#maps .shown").get_attribute("aria-label") == "Scale from −0.2 to +0.3 ppm"
    wanted, shown = grey_of(page, expected, "DL4", window=(-0.2, 0.3))
    assert shown == pytest.approx(wanted, abs=2)
    page.locator("[name=quantity] + span", has_text="Magnitude").click()
    settled(page)
    told = page.locator(".controls .slide output").all_text_contents()
    assert told[-2:] == ["50 %", "100 %"], "level and window of each map are its own"
    page.locator("[name=quantity] + span", has_text="Local field").click()
    until(page, "!document.querySelector('.here dd span').textContent.includes('–')")
    assert page.locator("#maps .shown").get_attribute("aria-label") == "Scale from −6 to +6 Hz"
    assert page.locator("[name=difference]").is_disabled(), "fields are not registered"
    assert page.locator("[name=first][value='4']").is_disabled(), "there is no true field"
    page.locator("[name=back]").click()
    page.locator("[name=quantity] + span", has_text="Susceptibility").click()
    settled(page)
    assert page.locator("#maps .shown").get_attribute("aria-label") == "Scale from −0.1 to +0.2 ppm"


def test_space_and_flicker_alternate_the_two_maps(page):
    title = page.locator("#viewer .caption b").first
    assert title.text_content() == "A · PI2"
    press(page, " ")
    assert title.text_content() == "B · DL3"
    press(page, " ")
    assert title.text_content() == "A · PI2"
    page.locator("[name=period]").fill("250")
    page.locator("#viewer [name=play]").click()
    for name in ("B · DL3", "A · PI2", "B · DL3"):
        until(page, f"document.querySelector('#viewer .caption b').textContent === '{name}'")
    assert page.locator("[name=play]").get_attribute("aria-pressed") == "true"
    press(page, "p")
    assert page.locator("[name=play]").get_attribute("aria-pressed") == "false"
    assert title.text_content() == "A · PI2"


def test_difference_is_that_of_the_two_maps(page):
    told = values(page)
    first, second = (float(told[name].replace("−", "-")) for name in ("PI2", "DL3"))
    press(page, "d")
    assert page.locator("#viewer .caption b").first.text_content() == "PI2 − DL3"
    red, _, blue = page.evaluate(PIXEL, [AXIAL, *place(page)[:2]])
    assert abs(first - second) > 4, "else the made-up maps say nothing"
    assert (red > blue) == (first > second)
    assert max(page.evaluate(PIXEL, [AXIAL, 0, 0])) <= 3, "black outside, where nothing can be said"
    assert page.locator("#maps .differing").is_visible() and not page.locator("#maps .shown").is_visible()


def test_nuclei_are_outlined_and_can_be_left_out(page):
    drawn = "[...document.querySelectorAll('#viewer .drawn path')].filter((p) => p.getAttribute('d')).length"
    assert page.evaluate(drawn) > 3
    press(page, "o")
    assert page.evaluate(drawn) == 0
    assert page.locator("#viewer .cross").first.get_attribute("d")
    press(page, "c")
    assert page.locator("#viewer .cross").first.get_attribute("d") == ""


def test_outlines_run_along_the_voxels_of_the_labels(page, expected):
    """The left globus pallidus is a block of voxels: its outline ends half a voxel outside their middles."""
    path = page.locator("#viewer .plane").nth(AXIAL).locator(".drawn path").nth(2).get_attribute("d")
    points = np.array([tuple(map(float, point.split())) for point in path.replace("M", "L").split("L")[1:]])
    column, row, _ = place(page)
    near = points[np.abs(points - (column + 0.5, row + 0.5)).max(axis=1) < 4]
    assert len(near) > 4
    # Made-up labels are four columns by two rows.
    assert np.ptp(near[:, 0]) == pytest.approx(4) and np.ptp(near[:, 1]) == pytest.approx(2)


def test_on_paper_planes_stay_and_controls_go(page):
    page.emulate_media(media="print")
    assert page.locator("#viewer canvas").first.is_visible()
    for control in ("form", ".plane .slide"):
        assert not page.locator(f"#viewer {control}").first.is_visible(), control


def test_without_scripts_the_page_says_so_and_shows_planes(browser, pages):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(pages["participant"].as_uri())
    assert page.locator(".unscripted").is_visible() and not page.locator("#viewer").is_visible()
    assert page.locator("#chi img").first.is_visible()
    context.close()
