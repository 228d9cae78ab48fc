"""What a request from a browser is taken for."""

from __future__ import annotations

import pytest

from optikit.service.browser import Asked, same_origin


def asked(**headers: str) -> Asked:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked("POST", "/sign-out", {}, {"host": "127.0.0.1:8470", **named}, {}, False)


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8470"}, True),
        ({"origin": "http://127.0.0.1:8470"}, True),
        ({"sec_fetch_site": "same-site"}, False),  # another port of this machine
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8470"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({}, False),
    ],
)
def test_a_form_is_ours_where_the_browser_says_so(headers: dict[str, str], is_ours: bool) -> None:
    assert same_origin(asked(**headers)) is is_ours


def test_cookies_of_others_beside_ours_do_no_harm() -> None:
    found = asked(cookie='a={"x": [1,2]}; optikit-8470=mine ; optikit-8470=later; b; =c; d=')
    assert found.cookie_name == "optikit-8470"
    assert found.cookie("optikit-8470") == "mine"
    assert found.cookie("d") is None
    assert found.cookie("nosuch") is None
    assert asked().cookie("optikit-8470") is None


def test_a_cookies_name_knows_the_port_and_tls() -> None:
    plain = Asked("GET", "/", {}, {"host": "optikit.example"}, {}, False)
    secure = Asked("GET", "/", {}, {"host": "optikit.example:8470"}, {}, True)
    assert (plain.cookie_name, secure.cookie_name) == ("optikit", "__Host-optikit-8470")
    assert (plain.host, secure.host) == ("optikit.example", "optikit.example")
