"""The shapes of the answers, by subject."""
