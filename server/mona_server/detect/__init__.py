"""Arrays in, findings out: windows, candidates, levels, chance, selection. No I/O, no clock."""

from mona_server.detect.search import search
from mona_server.detect.signal import Finding, SearchResult, Signal

__all__ = ["Finding", "SearchResult", "Signal", "search"]
