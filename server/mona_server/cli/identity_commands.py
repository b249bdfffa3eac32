"""``mona token …`` and ``mona user …``: access without a browser, with the server running or not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mona_server.cli.common import DEFAULT_DATA, DataDir, Json, Tenant, now_ms, open_store

if TYPE_CHECKING:
    from mona_server.api.identity.users import User

token_app = typer.Typer(no_args_is_help=True, help="API tokens: what programs sign in with.")
user_app = typer.Typer(no_args_is_help=True, help="People: invite them, help them back in.")

Url = Annotated[str | None, typer.Option(help="Address of the server, for the link; else as it is set.")]
Print = Annotated[bool, typer.Option("--print", help="Print the link, also where a mail server is set; mail nothing.")]
Role = Annotated[
    list[str], typer.Option("--role", help="Admin, Viewer, Participant, Exporter, ...; may be given several times.")
]


@token_app.command("create")
def token_create(
    role: Role,
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    description: Annotated[str, typer.Option(help="What the token is for.")] = "",
    as_json: Json = False,
) -> None:
    """Make a token. Its secret is shown once."""
    from mona_server.api.identity import tokens

    with open_store(data) as store:
        new = tokens.create_token(store.meta, role, now_ms=now_ms(), tenant=tenant, description=description)
    if as_json:
        print(json.dumps({"client_id": new.client_id, "secret": new.secret, "user_id": new.tenant}))
        return
    print(f"api key   {new.client_id}\nsecret    {new.secret}\nuser id   {new.tenant}")
    print("The secret is shown only now; keep it where your programs find it.")


@token_app.command("list")
def token_list(data: DataDir = DEFAULT_DATA, tenant: Tenant = "default", as_json: Json = False) -> None:
    """The tokens of a tenant, newest first, without secrets."""
    from mona_server.api.identity import tokens

    with open_store(data, must_exist=True) as store:
        found = tokens.listed(store.meta, tenant)
    if as_json:
        print(json.dumps(found))
        return
    for token in found:
        print(f"{token['id']}  {token['client_id']}  {', '.join(map(str, token['roles']))}  {token['description']}")
    if not found:
        print("no tokens; make one with `mona token create --role Exporter`")


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(help="As `mona token list` shows it: tok_…")],
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
) -> None:
    """End a token: at once for new sign-ins, within a minute for those under way."""
    from mona_server.api.identity import audit, tokens

    with open_store(data, must_exist=True) as store:
        tokens.revoke(store.meta, tenant, token_id, now_ms=now_ms(), actor=audit.Actor(tenant=tenant))
    print(f"{token_id} is revoked")


@user_app.command("invite")
def user_invite(
    email: str,
    role: Role,
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    url: Url = None,
    printed: Print = False,
) -> None:
    """Make a user. The link that sets the password (good for 72 hours) is mailed; without a mail server it is printed."""
    from mona_server.api.identity import users

    with open_store(data) as store:
        user, secret = users.invite(store.meta, email, role, now_ms=now_ms(), tenant=tenant, name=name)
    print(f"{user.id}  {email}")
    _hand_over(data, user, "activate", secret, url, printed=printed)


@user_app.command("reset")
def user_reset(
    email: str,
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    url: Url = None,
    printed: Print = False,
) -> None:
    """A one-time link that sets a new password: mailed, or printed without a mail server."""
    from mona_server.api.identity import audit, users
    from mona_server.errors import NotFound

    with open_store(data, must_exist=True) as store:
        found = users.by_email(store.meta, email)
        if found is None or found.tenant != tenant:
            raise NotFound(f"no user with the address {email}")
        secret = users.new_link(store.meta, tenant, found.id, "reset", now_ms=now_ms())
        audit.record(store.meta, audit.Actor(tenant=tenant), "user.link", found.id, now_ms=now_ms())
    _hand_over(data, found, "reset", secret, url, printed=printed)


def _hand_over(data: Path, user: User, purpose: str, secret: str, url: str | None, *, printed: bool) -> None:
    """Mail a link and say so, or print it."""
    from mona_server import settings as settings_module
    from mona_server.api import link_mails

    settings = settings_module.load(data)
    if printed:
        print(link_mails.address_of(settings, secret, url))
        return
    handed = link_mails.hand_over(settings, user, purpose, secret, now_ms=now_ms(), address=url)
    if handed.mail_error:
        print(f"the mail did not go: {handed.mail_error}", file=sys.stderr)
    print(handed.link or f"mailed to {user.email}; --print shows the link instead")
