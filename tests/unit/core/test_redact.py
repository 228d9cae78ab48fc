from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.redact import GONE, Redactor, is_secret, secrets_in


@pytest.mark.parametrize(
    "name",
    [
        *("OPTIKIT_TOKEN", "OPENAI_API_KEY", "EXA_APIKEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        *("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD"),
        *("MLFLOW_TRACKING_TOKEN", "VLLM_API_KEY", "DB_PASSWD", "my_secret", "GOOGLE_CREDENTIALS"),
        *("RAY_AUTH_TOKEN", "SSH_PRIVATE_KEY", "MYSQL_PWD", "TOKEN", "X_SECRET_2"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "PWD", "OLDPWD", "HOME", "TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY"),
        *("SSL_CERT_FILE", "API_KEY_FILE", "SSH_KEY_PATH", "OPTIKIT_HOME", "SSH_AUTH_SOCK"),
    ],
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


def test_a_password_in_an_address_is_found_whatever_holds_it() -> None:
    found = secrets_in({"DATABASE": "postgresql://me:s3cret-word@db/x", "U": "http://host/x@y"})
    assert found == {"s3cret-word": "DATABASE"}


def test_what_opentelemetrys_headers_hold_is_secret_and_their_names_are_not() -> None:
    name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    assert is_secret(name)
    held = secrets_in({name: "authorization=Bearer%20tok-en-42, x-key=hush-hush,x-tenant=1"})
    assert set(held) == {"Bearer%20tok-en-42", "Bearer tok-en-42", "tok-en-42", "hush-hush"}
    text = "authorization: Bearer tok-en-42; x-key: hush-hush"
    assert Redactor(held).text(text) == f"authorization: {GONE}; x-key: {GONE}"


def test_short_values_are_left_alone() -> None:
    assert secrets_in({"A_TOKEN": "1", "B_TOKEN": " 1234567 ", "C_TOKEN": "12345678"}) == {
        "12345678": "C_TOKEN"
    }


def test_a_value_is_taken_out_however_it_is_spelt() -> None:
    value = 'quo"te/&ü12'
    redactor = Redactor({value: "X_KEY"})
    for text in (value, json.dumps({"a": value}), "x?key=quo%22te%2F%26%C3%BC12&y"):
        cleaned = redactor.text(text)
        assert GONE in cleaned
        assert "te" not in cleaned.replace(GONE, "")
    assert json.loads(redactor.text(json.dumps({"a": value}))) == {"a": GONE}


def test_one_secret_inside_another() -> None:
    redactor = Redactor({"12345678": "A", "12345678-longer": "B"})
    assert redactor.text("x 12345678-longer y 12345678") == f"x {GONE} y {GONE}"
    assert redactor.held_by("x 12345678-longer") == ["A", "B"]


def test_what_is_part_of_a_path_can_be_left_out() -> None:
    redactor = Redactor({"optikit-home": "PGPASSWORD", "other-secret": "X_KEY"})
    assert redactor.but("/data/optikit-home/jobs").values == {"other-secret": "X_KEY"}


@given(st.text(min_size=8, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_nothing_of_a_value_is_left(value: str, before: str, behind: str) -> None:
    if value in GONE or GONE in value:
        return
    cleaned = Redactor({value: "X"}).text(before + value + behind)
    assert value not in cleaned or value in before + GONE + behind
