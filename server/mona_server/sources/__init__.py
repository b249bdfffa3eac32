"""Ways in beside the sending path. Every source ends in the same ingest path: merging, limits and keys hold everywhere."""
