"""``/api/v1``: nouns, honest status codes, cursors, ETags. One module per area of the specification."""
