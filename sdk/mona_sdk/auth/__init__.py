"""Tokens: who asks for them, where they are kept, when they are renewed."""
