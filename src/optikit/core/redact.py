"""Takes the values of known secrets out of text that is to be kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

__all__ = ["GONE", "Redactor", "is_secret", "secrets_in"]

GONE = "[redacted]"
SHORTEST = 8
"""Characters of the shortest value that is looked for: shorter ones are in any text."""
_NAME = re.compile(
    r"(^|_)(TOKEN|((API|ACCESS|PRIVATE)?KEY|SECRET|(PG)?PASSWORD|PASSWD|PASSPHRASE|PWD"
    r"|CREDENTIAL)S?)($|_(?!FILE$|PATH$|DIR$))",
    re.IGNORECASE,
)
_NOT = frozenset({"PWD", "OLDPWD"})
_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_([A-Z]+_)?HEADERS")


def is_secret(name: str) -> bool:
    """Whether an environment variable of this name holds a secret.

    >>> [is_secret(n) for n in ("HF_TOKEN", "OPENAI_API_KEY", "PGPASSWORD", "PATH", "MAX_TOKENS_N")]
    [True, True, True, False, False]
    >>> is_secret("OTEL_EXPORTER_OTLP_HEADERS"), is_secret("OTEL_EXPORTER_OTLP_ENDPOINT")
    (True, False)
    >>> [is_secret(n) for n in ("AWS_SECRET_ACCESS_KEY", "SSH_KEY_FILE", "PWD", "TOKENIZERS_X")]
    [True, False, False, False]
    """
    found = _NAME.search(name) or _HEADERS.fullmatch(name)
    return name.upper() not in _NOT and found is not None


def secrets_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Values that must not be kept, with the variable that holds each.

    A password inside an address (``postgresql://me:password@host``) counts, whatever the variable
    is called, and so do the values of OpenTelemetry's headers (``authorization=Bearer%20xyz``).
    Values shorter than 8 characters are left out.

    >>> secrets_in({"HF_TOKEN": "hf_12345678", "DB": "pg://me:hush-hush@h/x", "A_KEY": "1"})
    {'hf_12345678': 'HF_TOKEN', 'hush-hush': 'DB'}
    """
    found: dict[str, str] = {}
    for name, value in environment.items():
        held = [value.strip()] if is_secret(name) else [_password(value) or ""]
        if _HEADERS.fullmatch(name):
            held = _of_headers(value)
        for secret in held:
            if len(secret) >= SHORTEST:
                found.setdefault(secret, name)
    return found


def _of_headers(text: str) -> list[str]:
    """Values of ``name=value,name=value``, as they stand there and as they are sent.

    >>> _of_headers("authorization=Bearer%20abc,x-a=1")
    ['Bearer%20abc', 'Bearer abc', 'abc', '1', '1', '1']
    """
    found = []
    for pair in text.split(","):
        value = pair.partition("=")[2].strip()
        sent = unquote(value)
        found += [value, sent, sent.rpartition(" ")[2]]
    return found


def _password(value: str) -> str | None:
    if "://" not in value or "@" not in value:
        return None
    try:
        return urlsplit(value).password
    except ValueError:
        return None


@dataclass(frozen=True)
class Redactor:
    """Knows values; replaces them wherever they stand, also as JSON or a URL spells them."""

    values: Mapping[str, str]
    """Secret to the name of what holds it, as ``secrets_in`` gives them."""

    def text(self, text: str) -> str:
        """The text without the values.

        >>> Redactor({'hush-hush': 'DB'}).text('no access for hush-hush')
        'no access for [redacted]'
        """
        # the longest first: one may be the beginning of another
        for value in sorted(self.values, key=len, reverse=True):
            for spelt in {value, json.dumps(value)[1:-1], quote(value, safe="")}:
                if spelt in text:
                    text = text.replace(spelt, GONE)
        return text

    def held_by(self, text: str) -> list[str]:
        """Names of the variables whose values stand in the text, sorted."""
        return sorted({name for value, name in self.values.items() if value in text})

    def but(self, text: str) -> Redactor:
        """This one without the values that are part of ``text``: of a path that must stay whole."""
        return Redactor({v: name for v, name in self.values.items() if v not in text})
