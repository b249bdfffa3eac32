"""What people ask of the data: each function takes a :class:`Dataset` and a request, and gives the answer as JSON.

``Reader.dataset(tenant, class)`` opens the dataset; a request is read by its ``parse(dataset, body)``, which reports
every problem at once.
"""

from __future__ import annotations

from mona_server.query.compare import CompareRequest, CorrelationsRequest, compare, correlations
from mona_server.query.dimensions import DimensionsRequest, get_segments_for_dimensions
from mona_server.query.distribution import HistogramRequest, get_histogram
from mona_server.query.ingested import (
    ContextsRequest,
    IngestedRequest,
    export_contexts,
    get_ingested_data,
    list_contexts,
)
from mona_server.query.one_context import get_context
from mona_server.query.profile import Overview, field_profiles, overview
from mona_server.query.reader import Dataset, Reader
from mona_server.query.requests import InvalidRequest
from mona_server.query.segments import SegmentRequest, get_segment
from mona_server.query.timing import timed

compare, correlations, get_histogram = timed(compare), timed(correlations), timed(get_histogram)
get_segment, get_segments_for_dimensions = timed(get_segment), timed(get_segments_for_dimensions)
get_ingested_data, list_contexts, export_contexts = (
    timed(get_ingested_data),
    timed(list_contexts),
    timed(export_contexts),
)
field_profiles, overview = timed(field_profiles), timed(overview)

__all__ = [
    "CompareRequest",
    "ContextsRequest",
    "CorrelationsRequest",
    "Dataset",
    "DimensionsRequest",
    "HistogramRequest",
    "IngestedRequest",
    "InvalidRequest",
    "Overview",
    "Reader",
    "SegmentRequest",
    "compare",
    "correlations",
    "export_contexts",
    "field_profiles",
    "get_context",
    "get_histogram",
    "get_ingested_data",
    "get_segment",
    "get_segments_for_dimensions",
    "list_contexts",
    "overview",
]
