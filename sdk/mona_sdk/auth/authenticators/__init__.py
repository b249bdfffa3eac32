"""One class per way to get a token; `factory.get_authenticator` chooses."""
