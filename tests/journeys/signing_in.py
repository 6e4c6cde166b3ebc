"""One sign-in for several businesses, kept by a second step."""

from __future__ import annotations

import base64
import hmac
import re
import struct
import time

from tests.journeys.walk import PASSWORD, Walk


def switch_business(walk: Walk) -> None:
    """Somebody with two businesses changes between them on every page."""
    person = walk.person
    person.page.locator("summary").filter(has_text="switch business").click()
    person.follow("Add a business")
    person.fill("Legal name", "Marlow GmbH")
    person.choose("Country", "Germany")
    person.choose("Base currency", re.compile("^EUR"))
    person.choose("Time zone", "Europe/Berlin")
    person.click("Create business")
    person.sees("Marlow GmbH")
    person.go("/businesses/")
    person.look()
    person.page.locator("summary").filter(has_text="switch business").click()
    person.follow(re.compile(walk.business))
    person.page.wait_for_url(f"**{walk.home}")


def code_of(secret: str) -> str:
    """What an authenticator app shows just now (RFC 6238)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, struct.pack(">Q", int(time.time()) // 30), "sha1")
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


def turn_on_second_step(walk: Walk) -> None:
    """From now on the password alone does not open the business."""
    person = walk.person
    person.page.locator("summary").filter(has_text="your menu").click()
    person.follow("Two-step sign-in")
    person.look()
    person.follow("Turn on")
    shown = person.page.get_by_label(re.compile("^The secret"))
    if person.sees_first(person.page.get_by_label("Password"), shown):
        person.look()
        person.fill("Password", PASSWORD)
        person.click("Confirm")
    secret = shown.input_value()
    person.look()
    type_code(walk, secret)
    person.look()
    person.go("/user/2fa/")
    person.sees("Each sign-in asks for a code")
    person.follow(re.compile("Show them|Make recovery codes"))
    codes = person.page.locator("textarea")
    if person.sees_first(person.page.get_by_role("button", name="Make new codes"), codes):
        person.click("Make new codes")
    person.look()
    walk.recovery_code = codes.input_value().split()[0]
    person.page.locator("summary").filter(has_text="your menu").click()
    person.click("Sign out")


def type_code(walk: Walk, secret: str) -> None:
    """A code counts for half a minute; one that ran out on the way is refused, and the next is typed."""
    person = walk.person
    done = person.page.get_by_role("heading", name="Recovery codes", level=1)
    for _ in range(2):
        person.page.locator("[name=code]").fill(code_of(secret))
        person.click("Turn on")
        if not person.sees_first(person.page.locator("#id_code_error"), done):
            return
    raise AssertionError(person.text)


def sign_in(walk: Walk) -> None:
    person = walk.person
    person.go("/")
    person.look()
    person.fill("Email", walk.email)
    person.fill("Password", PASSWORD)
    person.click("Sign in")
    person.sees("Second step")
    person.look()
    person.page.locator("[name=code]").fill(walk.recovery_code)
    person.click("Sign in")
    person.go(walk.home)
    person.sees(walk.business)
