from __future__ import annotations

from optikit.service.tokens import digest_of_token, new_token, same_digest


def test_a_token_has_256_random_bits_and_a_prefix_that_scanners_know() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert token.startswith("optikit_")
        assert len(token) == len("optikit_") + 43, "32 bytes in base64"


def test_what_is_kept_does_not_tell_the_token() -> None:
    token = new_token()
    kept = digest_of_token(token)
    assert token not in kept
    assert len(kept) == 64
    assert same_digest(kept, digest_of_token(token))
    assert not same_digest(kept, digest_of_token(token + "x"))


def test_a_token_of_any_signs_has_a_digest() -> None:
    assert len(digest_of_token("\ud800 é")) == 64
