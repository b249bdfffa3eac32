"""API tokens, refresh tokens and signed access tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from joserfc import jwt as plain_jwt
from joserfc.jwk import KeySet, OctKey
from sqlalchemy import Engine, select, text

from mona_server.api.identity import audit, tokens
from mona_server.api.identity.jwt import Signer
from mona_server.errors import BadRequest, DataDamaged, NotAuthenticated, NotFound
from mona_server.sealing import FILE, Sealer
from mona_server.store.tables_identity import api_tokens, signing_keys

NOW = 1_790_000_000_000
DAY = 86_400_000
CLI = audit.Actor(tenant="default")


def test_secret_opens_its_token_only(meta: Engine) -> None:
    """The client id and secret that were shown once identify the token; another secret or id does not."""
    new = tokens.create_token(meta, ["Admin"], now_ms=NOW)
    token = tokens.check_secret(meta, new.client_id, new.secret, now_ms=NOW)
    assert (token.id, token.tenant) == (new.id, "default")
    for client_id, secret in ((new.client_id, "x"), ("x", new.secret), ("", "")):
        with pytest.raises(NotAuthenticated):
            tokens.check_secret(meta, client_id, secret, now_ms=NOW)


def test_secrets_are_not_in_the_database(meta: Engine, tmp_path: Path) -> None:
    """Neither the secret nor a refresh token nor the private signing key stands in the files."""
    new = tokens.create_token(meta, now_ms=NOW)
    token = tokens.check_secret(meta, new.client_id, new.secret, now_ms=NOW)
    refresh = tokens.new_refresh_token(meta, token, now_ms=NOW)
    Signer(meta, Sealer(tmp_path), "RS256", now_ms=NOW)
    with meta.connect() as db:
        db.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("meta.db*"))
    assert new.client_id.encode() in stored
    for secret in (new.secret, refresh, '"d":', '"kty"'):
        assert secret.encode() not in stored
    assert new.secret not in repr(new)


def test_ended_and_revoked_tokens_are_refused(meta: Engine) -> None:
    """A token past its expiry, or revoked, identifies nobody; revoking twice is an error."""
    short = tokens.create_token(meta, now_ms=NOW, expires_ms=NOW + 10)
    tokens.check_secret(meta, short.client_id, short.secret, now_ms=NOW + 9)
    with pytest.raises(NotAuthenticated):
        tokens.check_secret(meta, short.client_id, short.secret, now_ms=NOW + 10)
    new = tokens.create_token(meta, now_ms=NOW)
    tokens.revoke(meta, "default", new.id, now_ms=NOW, actor=CLI)
    assert tokens.find(meta, new.client_id, now_ms=NOW) is None
    assert new.id not in [token["id"] for token in tokens.listed(meta, "default")]
    with pytest.raises(NotFound):
        tokens.revoke(meta, "default", new.id, now_ms=NOW, actor=CLI)


def test_another_tenant_cannot_revoke(meta: Engine) -> None:
    """Tokens of one tenant do not exist for another one."""
    new = tokens.create_token(meta, now_ms=NOW)
    with pytest.raises(NotFound):
        tokens.revoke(meta, "other", new.id, now_ms=NOW, actor=CLI)
    assert tokens.listed(meta, "other") == []


def test_refresh_token_rotates_with_grace(meta: Engine) -> None:
    """A used refresh token works 60 s more, because two processes may refresh at once; then never again."""
    new = tokens.create_token(meta, now_ms=NOW)
    token = tokens.check_secret(meta, new.client_id, new.secret, now_ms=NOW)
    first = tokens.new_refresh_token(meta, token, now_ms=NOW)
    assert tokens.use_refresh_token(meta, first, now_ms=NOW + DAY) == token
    assert tokens.use_refresh_token(meta, first, now_ms=NOW + DAY + 59_000) == token
    with pytest.raises(NotAuthenticated):
        tokens.use_refresh_token(meta, first, now_ms=NOW + DAY + 60_000)
    unused = tokens.new_refresh_token(meta, token, now_ms=NOW)
    with pytest.raises(NotAuthenticated):
        tokens.use_refresh_token(meta, unused, now_ms=NOW + 30 * DAY)


def test_bad_roles_are_explained(meta: Engine) -> None:
    """Unknown roles, class roles without a class and empty lists are refused before anything is stored."""
    for roles in (["Boss"], ["Context Class Viewer"], [{"role": "Admin", "arc_class": "X"}], [], [3]):
        with pytest.raises(BadRequest):
            tokens.create_token(meta, roles, now_ms=NOW)
    with meta.connect() as db:
        assert db.execute(select(api_tokens)).all() == []


@pytest.mark.parametrize("alg", ["RS256", "HS256"])
def test_access_tokens(meta: Engine, tmp_path: Path, alg: str) -> None:
    """A signed token opens until it ends, in another process too, and not after a change of one letter."""
    signer = Signer(meta, Sealer(tmp_path), alg, now_ms=NOW)
    access = signer.issue({"sub": "key", "exp": NOW // 1000 + 60})
    again = Signer(meta, Sealer(tmp_path), alg, now_ms=NOW)
    assert again.verify(access, now_ms=NOW)["sub"] == "key"
    head, body, signature = access.split(".")
    wrong = "A" if signature[5] != "A" else "B"
    for bad in ("", "a.b.c", access[:-10], f"{head}.{body}.{signature[:5]}{wrong}{signature[6:]}"):
        with pytest.raises(NotAuthenticated):
            again.verify(bad, now_ms=NOW)
    with pytest.raises(NotAuthenticated, match="expired"):
        again.verify(access, now_ms=NOW + 60_000)
    with meta.connect() as db:
        assert len(db.execute(select(signing_keys)).all()) == 1


def test_published_keys_verify_and_hold_nothing_private(meta: Engine, tmp_path: Path) -> None:
    """Others can verify with the published keys alone."""
    signer = Signer(meta, Sealer(tmp_path), "RS256", now_ms=NOW)
    published = signer.jwks()
    assert set(published["keys"][0]) <= {"kty", "n", "e", "kid", "use", "alg"}
    access = signer.issue({"sub": "key", "exp": NOW // 1000 + 60})
    assert plain_jwt.decode(access, KeySet.import_key_set(published)).claims["sub"] == "key"  # type: ignore[arg-type]


def test_public_key_is_no_secret(meta: Engine, tmp_path: Path) -> None:
    """A token signed HS256 with the public key as its secret is refused (algorithm confusion)."""
    signer = Signer(meta, Sealer(tmp_path), "RS256", now_ms=NOW)
    kid = signer.jwks()["keys"][0]["kid"]
    secret = OctKey.import_key(signer.jwks()["keys"][0]["n"])
    forged = plain_jwt.encode({"alg": "HS256", "kid": kid}, {"sub": "x", "exp": NOW}, secret)
    none = "eyJhbGciOiJub25lIiwia2lkIjoiJXMifQ.e30."
    for token in (forged, none):
        with pytest.raises(NotAuthenticated):
            signer.verify(token, now_ms=NOW)


def test_sealed_texts_need_their_key(tmp_path: Path) -> None:
    """The key file is made once, readable by its owner only, and another key opens nothing."""
    sealed = Sealer(tmp_path).seal("https://hooks.example/secret")
    assert "hooks" not in sealed
    assert Sealer(tmp_path).open(sealed) == "https://hooks.example/secret"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).unlink()
    with pytest.raises(DataDamaged):
        Sealer(tmp_path).open(sealed)
