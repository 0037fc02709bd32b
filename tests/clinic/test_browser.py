"""A visitor in Chromium: every button, the keyboard, narrow and wide, light and dark."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.clinic.running import chromium, clinic_on

pytestmark = pytest.mark.timeout(600)

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds that something may take on a busy machine."""

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["sqlite with a key file", "postgresql with a KMS emulator"])
def address(request: Any) -> Iterator[str]:
    name, _, keys = request.param.partition(" with ")
    backend = request.getfixturevalue(name)
    with clinic_on(backend, "moto" if "KMS" in keys else "file") as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport=WIDE, base_url=address)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/")
    yield page
    context.close()
    # A form that is refused is answered with a status, which the console repeats.
    assert not [line for line in said if "status of 4" not in line and "status of 5" not in line]


def picture(page: Page, name: str) -> None:
    """Keep what is seen now, where ``CLINIC_PICTURES`` names a folder."""
    folder = os.environ.get("CLINIC_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_visitor_does_everything(page: Page) -> None:
    _look_both_ways(page)
    _add_and_find(page)
    _intrude(page)
    _rotate(page)
    _adopt(page)
    _shred(page)
    _lose_the_keys(page)


def _look_both_ways(page: Page) -> None:
    expect(page.locator("#seen-table")).to_contain_text("123-45-6789")
    expect(page.locator("#held-table")).not_to_contain_text("123-45-6789")
    picture(page, "patients")


def _add_and_find(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("Emmy Noether")
    page.locator("#add-ssn").fill("wrong")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("Number: it has the form")
    page.locator("#add-ssn").fill("222-33-4444")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("status")).to_contain_text("Emmy Noether was added")
    page.locator("#search-ssn").fill("222-33-4444")
    page.get_by_role("button", name="Find by blind index").click()
    expect(page.locator("#seen-table tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#seen-table tbody tr")).to_have_count(7)


def _intrude(page: Page) -> None:
    page.get_by_role("button", name="Swap their numbers").click()
    expect(page.locator("tr.bad")).to_have_count(2)
    page.get_by_role("button", name="Change one bit").click()
    expect(page.locator("tr.bad")).to_have_count(3)
    page.locator("tr.bad summary").first.click()
    expect(page.locator("tr.bad details[open]")).to_contain_text("patient.ssn")
    picture(page, "intruder")
    page.get_by_role("button", name="Restore from the backup").click()
    expect(page.locator("tr.bad")).to_have_count(0)


def _rotate(page: Page) -> None:
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="Rotate").click()
    expect(page.locator("#rotation-bar")).to_be_visible()
    expect(page.locator("#rotation-writer")).to_contain_text(re.compile("Meanwhile [1-9]"))
    picture(page, "rotation")
    expect(page.locator("#rotation")).to_contain_text("Finished")
    expect(page.locator("#rotation")).to_contain_text(re.compile(r"6,\d{3} of 6,\d{3} rows"))


def _adopt(page: Page) -> None:
    page.get_by_role("link", name="Adoption").click()
    for step, phase in (
        ("Begin", "write-both"),
        ("Seal what is there", "write-both"),
        ("Read what is sealed", "read-sealed"),
    ):
        page.get_by_role("button", name=step).click()
        expect(page.get_by_role("status")).to_have_text(f"Done: {step}.")
        expect(page.locator("#phase")).to_have_text(phase)
    page.locator("#old").click()
    expect(page.locator("#columns-table")).to_contain_text("pending")
    expect(page.locator("#contacts-table")).to_contain_text("+1 555 0199")
    picture(page, "adoption")
    page.locator("#back").click()
    expect(page.locator("#phase")).to_have_text("plaintext")


def _shred(page: Page) -> None:
    page.get_by_role("link", name="Keys").click()
    page.locator("#shred-clinic").select_option("2")
    page.locator("#shred-confirm").fill("clinic/2")
    page.get_by_role("button", name="Destroy the key").click()
    expect(page.get_by_role("status")).to_contain_text("is destroyed")


def _lose_the_keys(page: Page) -> None:
    page.get_by_role("button", name="Take it away").click()
    expect(page.locator("#meter")).to_contain_text("out of reach")
    page.get_by_role("link", name="Patients").click()

    def look_again() -> None:
        page.wait_for_timeout(1000)
        page.reload()

    for _ in range(60):
        if page.locator("tr.bad strong", has_text="The keys are out of reach").count():
            break
        look_again()
    expect(page.locator("tr.bad strong").first).to_contain_text("out of reach")
    picture(page, "outage")
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="Bring it back").click()
    page.get_by_role("link", name="Patients").click()
    expect(page.locator("#seen-table")).to_contain_text("123-45-6789")
    expect(page.locator("#seen-table")).to_contain_text("Shredded")


def test_it_is_used_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for expected in ("search-clinic", "search-ssn"):
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_id(expected)
    page.keyboard.type("123-45-6789")
    page.keyboard.press("Enter")
    expect(page.locator("#seen-table tbody tr")).to_have_count(1)
    page.locator("nav a").nth(1).focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Keys")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_narrow_and_wide_light_and_dark(
    browser: Browser, address: str, size: Any, scheme: Any
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, base_url=address)
    page = context.new_page()
    for path in ("/", "/keys", "/adoption"):
        page.goto(path)
        beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, path
        width = "narrow" if size is NARROW else "wide"
        picture(page, f"{width}-{scheme}-{path.strip('/') or 'patients'}")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(17, 22, 28)") == (scheme == "dark")
    context.close()


def test_it_works_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="Swap their numbers").click()
    expect(page.locator("tr.bad")).to_have_count(2)
    context.close()
