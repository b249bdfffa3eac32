"""Who is calling and what they may do: tenants, users, tokens, sessions, roles, audit."""
