"""Users: invitation, password, second factor, lock-out, the last Admin."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import Engine, text

from mona_server.api.identity import audit, sessions, users
from mona_server.errors import BadRequest, Conflict, Forbidden, NotAuthenticated, NotFound, Overloaded
from mona_server.sealing import Sealer

NOW = 1_790_000_000_000
HOUR = 3_600_000
PASSWORD = "violet harbour stapler 9"
SYSTEM = audit.Actor(tenant="default")


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path)


def active(meta: Engine, email: str = "ann@example.com", roles: tuple[object, ...] = ("Admin",)) -> users.User:
    _, link = users.invite(meta, email, roles, now_ms=NOW)
    return users.set_password(meta, link, PASSWORD, now_ms=NOW)


def test_invited_user_activates_and_signs_in(meta: Engine, sealer: Sealer) -> None:
    """The link of an invitation sets the password once; then address and password sign in, in any case."""
    user, link = users.invite(meta, " Ann@Example.com ", ["Viewer"], now_ms=NOW, name="Ann")
    assert (user.state, user.email) == ("invited", "ann@example.com")
    with pytest.raises(NotAuthenticated):
        users.sign_in(meta, sealer, user.email, PASSWORD, now_ms=NOW)
    users.set_password(meta, link, PASSWORD, now_ms=NOW + 71 * HOUR)
    with pytest.raises(NotAuthenticated, match="used before"):
        users.set_password(meta, link, PASSWORD, now_ms=NOW + 71 * HOUR)
    signed = users.sign_in(meta, sealer, "ANN@example.com", PASSWORD, now_ms=NOW + 72 * HOUR)
    assert signed.id == user.id
    assert signed.last_login_ms == NOW + 72 * HOUR


def test_link_ends_and_weak_password_does_not_use_it_up(meta: Engine) -> None:
    """A guessable or short password is refused with the reason, and the link still works; after 72 h it does not."""
    _, link = users.invite(meta, "a@b.c", ["Viewer"], now_ms=NOW)
    for weak in ("short", "password1234", "aaaaaaaaaaaaaaaa", "qwertyuiop123", "x" * 300):
        with pytest.raises(BadRequest):
            users.set_password(meta, link, weak, now_ms=NOW)
    with pytest.raises(NotAuthenticated):
        users.set_password(meta, link, PASSWORD, now_ms=NOW + 72 * HOUR)


def test_unknown_address_and_wrong_password_look_alike(meta: Engine, sealer: Sealer) -> None:
    """The answer does not tell whether an address is known."""
    active(meta)
    texts = set()
    for email, password in (("ann@example.com", "wrong password here"), ("nobody@example.com", PASSWORD)):
        with pytest.raises(NotAuthenticated) as refused:
            users.sign_in(meta, sealer, email, password, now_ms=NOW)
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_ten_failures_lock_for_fifteen_minutes(meta: Engine, sealer: Sealer) -> None:
    """After ten wrong passwords the right one is refused too, with the time to wait; later it works again."""
    active(meta)
    for _ in range(10):
        with pytest.raises(NotAuthenticated):
            users.sign_in(meta, sealer, "ann@example.com", "wrong", now_ms=NOW)
    with pytest.raises(Overloaded) as locked:
        users.sign_in(meta, sealer, "ann@example.com", PASSWORD, now_ms=NOW + 60_000)
    assert locked.value.retry_after_s == 14 * 60
    users.sign_in(meta, sealer, "ann@example.com", PASSWORD, now_ms=NOW + 15 * 60_000)
    actions = [entry["action"] for entry in audit.page(meta, "default", limit=50)]
    assert actions[:2] == ["user.sign_in", "user.locked"]
    assert actions.count("user.sign_in_failed") == 10


def test_second_factor(meta: Engine, sealer: Sealer) -> None:
    """With a second factor a code is needed; each code counts once, and neighbours in time are accepted."""
    user = active(meta)
    seed, uri = users.new_second_factor(user.email)
    assert uri.startswith("otpauth://totp/")

    def code(at_ms: int) -> str:
        return TOTP(bytes.fromhex(seed), 6, SHA1(), 30, enforce_key_length=False).generate(at_ms // 1000).decode()

    with pytest.raises(BadRequest):
        users.set_second_factor(meta, sealer, user, seed, "000000", now_ms=NOW, actor=SYSTEM)
    users.set_second_factor(meta, sealer, user, seed, code(NOW), now_ms=NOW, actor=SYSTEM)
    with pytest.raises(users.CodeNeeded):
        users.sign_in(meta, sealer, user.email, PASSWORD, now_ms=NOW)
    later = NOW + 60_000
    users.sign_in(meta, sealer, user.email, PASSWORD, code(later - 30_000), now_ms=later)
    for bad in (code(later - 30_000), "000000", "abc", "", "１２３４５６"):
        with pytest.raises(NotAuthenticated):
            users.sign_in(meta, sealer, user.email, PASSWORD, bad, now_ms=later)
    with meta.connect() as db:
        assert seed not in str(db.execute(text("SELECT totp_sealed FROM users")).all())


def test_sessions(meta: Engine) -> None:
    """A session lives 12 h after its last request; disabling its user or signing out ends it at once."""
    user = active(meta)
    active(meta, "bob@example.com")
    cookie, session = sessions.start(meta, user, now_ms=NOW, ip="127.0.0.1")
    assert session.csrf_is(session.csrf)
    assert not session.csrf_is("")
    assert sessions.find(meta, cookie, now_ms=NOW + 11 * HOUR) is not None
    assert sessions.find(meta, cookie, now_ms=NOW + 22 * HOUR) is not None
    assert sessions.find(meta, cookie, now_ms=NOW + 34 * HOUR) is None
    assert sessions.find(meta, "another", now_ms=NOW) is None
    users.change(meta, "default", user.id, now_ms=NOW, actor=SYSTEM, state="disabled")
    assert sessions.find(meta, cookie, now_ms=NOW + 23 * HOUR) is None
    again, _ = sessions.start(meta, user, now_ms=NOW, ip=None)
    sessions.end(meta, again)
    assert sessions.find(meta, again, now_ms=NOW) is None


def test_only_a_super_admin_chooses_another_tenant(meta: Engine) -> None:
    """X-Mona-Tenant is refused for everybody else."""
    user = active(meta)
    _, session = sessions.start(meta, user, now_ms=NOW, ip=None)
    assert sessions.caller(session, ip=None, tenant="default").tenant == "default"
    with pytest.raises(Forbidden):
        sessions.caller(session, ip=None, tenant="other")


def test_last_admin_stays(meta: Engine) -> None:
    """The last active Admin can be neither removed, disabled nor demoted; with a second one it can."""
    ann = active(meta)
    with pytest.raises(Conflict):
        users.remove(meta, "default", ann.id, now_ms=NOW, actor=SYSTEM)
    with pytest.raises(Conflict):
        users.change(meta, "default", ann.id, now_ms=NOW, actor=SYSTEM, state="disabled")
    with pytest.raises(Conflict):
        users.change(meta, "default", ann.id, now_ms=NOW, actor=SYSTEM, roles=["Viewer"])
    active(meta, "bob@example.com")
    users.remove(meta, "default", ann.id, now_ms=NOW, actor=SYSTEM)
    assert [user.email for user in users.listed(meta, "default")] == ["bob@example.com"]


def test_other_tenants_users_do_not_exist(meta: Engine) -> None:
    """Reading, changing and removing a user of another tenant is: no such user."""
    ann = active(meta)
    with pytest.raises(NotFound):
        users.get(meta, "other", ann.id)
    with pytest.raises(NotFound):
        users.change(meta, "other", ann.id, now_ms=NOW, actor=SYSTEM, name="x")
    with pytest.raises(NotFound):
        users.remove(meta, "other", ann.id, now_ms=NOW, actor=SYSTEM)
    assert users.listed(meta, "other") == []


def test_first_admin_gets_a_link_until_somebody_is_active(meta: Engine) -> None:
    """At each start without an active user there is a fresh link of one and the same Admin; then none any more."""
    first = users.first_admin_link(meta, now_ms=NOW)
    second = users.first_admin_link(meta, now_ms=NOW)
    assert first is not None
    assert second is not None
    with pytest.raises(NotAuthenticated):
        users.set_password(meta, first, PASSWORD, now_ms=NOW)
    admin = users.set_password(meta, second, PASSWORD, now_ms=NOW)
    assert admin.super_admin
    assert users.first_admin_link(meta, now_ms=NOW) is None
    assert len(users.listed(meta, "default")) == 1


def test_addresses_are_unique_and_checked(meta: Engine) -> None:
    """An address signs in without a tenant, so there is one of it; what is no address is refused."""
    users.invite(meta, "a@b.c", ["Viewer"], now_ms=NOW)
    with pytest.raises(Conflict):
        users.invite(meta, "A@B.C", ["Viewer"], now_ms=NOW, tenant="other")
    for bad in ("", "a", "@b", "a@", "a b@c.d", "a@b.c\nBcc: x@y.z", "x" * 300 + "@b.c"):
        with pytest.raises(BadRequest):
            users.invite(meta, bad, ["Viewer"], now_ms=NOW)
