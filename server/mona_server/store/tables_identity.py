"""Tables of ``meta.db``: who may call, and what they did.

Secrets are kept as hashes; what must be read back (signing keys, TOTP seeds, secrets of a sign-in provider)
is sealed by :mod:`mona_server.sealing`. Times are Unix milliseconds.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from mona_server.store.meta import metadata

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(128), primary_key=True, comment="the user_id of the wire, claim tenantId"),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("sso", JSON, nullable=True, comment="sign-in provider: issuer, client, sealed secret, mappings"),
)

users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", ForeignKey("tenants.id"), nullable=False),
    Column("email", Text, nullable=False, comment="lower case"),
    Column("name", Text, nullable=False, default=""),
    Column("state", String(16), nullable=False, comment="invited, active, disabled"),
    Column("roles", JSON, nullable=False, comment="list of {role, arc_class}"),
    Column("password_hash", Text, nullable=True, comment="Argon2id; null until activated, or single sign-on only"),
    Column("totp_sealed", Text, nullable=True, comment="second factor; null = none"),
    Column("totp_last_step", BigInteger, nullable=True, comment="a code counts once"),
    Column("failures", Integer, nullable=False, default=0, comment="wrong passwords or codes in a row"),
    Column("locked_until_ms", BigInteger, nullable=True),
    Column("super_admin", Integer, nullable=False, default=0, comment="1 = may choose another tenant"),
    Column("sso_subject", Text, nullable=True, comment="issuer + subject of the sign-in provider"),
    Column("last_login_ms", BigInteger, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    # An address signs in without naming its tenant, hence once per server.
    UniqueConstraint("email", name="users_email"),
)

links = Table(
    "links",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of the text in the link"),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("purpose", String(16), nullable=False, comment="activate, reset, login"),
    Column("expires_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of the cookie"),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False, comment="12 h after it the session ends"),
    Column("ip", Text, nullable=True),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", ForeignKey("tenants.id"), nullable=False),
    Column("client_id", String(64), nullable=False, unique=True, comment="the api key"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256: the secret has 256 random bits"),
    Column("description", Text, nullable=False, default=""),
    Column("roles", JSON, nullable=False),
    Column("created_by", String(64), nullable=True, comment="user; null = command line"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("last_used_ms", BigInteger, nullable=True, comment="kept to the minute"),
    Column("revoked_ms", BigInteger, nullable=True),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("token_id", ForeignKey("api_tokens.id", ondelete="CASCADE"), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=True, comment="rotated then; still good for 60 s"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("alg", String(8), nullable=False),
    Column("sealed", Text, nullable=False, comment="private JWK"),
    Column("created_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("user_id", String(64), nullable=True),
    Column("token_id", String(64), nullable=True),
    Column("ip", Text, nullable=True),
    Column("action", String(64), nullable=False, comment="noun.verb"),
    Column("target", Text, nullable=False, default=""),
    Column("before", JSON, nullable=True),
    Column("after", JSON, nullable=True),
    Index("audit_by_tenant", "tenant", "id"),
    # A removed row's number must not come again: pages continue at a number.
    sqlite_autoincrement=True,
)

sampling_factors = Table(
    "sampling_factors",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("config_name", String(256), primary_key=True),
    Column("context_class", String(128), primary_key=True, comment="empty = the default factor"),
    Column("factor", JSON, nullable=False, comment="number 0..1"),
)

views = Table(
    "views",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("owner", String(64), nullable=True, comment="user; null = made with a token"),
    Column("shared", Integer, nullable=False, default=0),
    Column("kind", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("context_class", String(128), nullable=True),
    Column("state", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("version", Integer, nullable=False, default=1),
    Index("views_by_tenant", "tenant", "kind"),
)
