"""What the methods return."""

from __future__ import annotations

from typing import Any, Optional, TypedDict


class BatchCounts(TypedDict):
    """What `export_batch` always says. `failure_reasons` maps the place in the given list (as text) to a reason."""

    total: int
    failed: int
    sent: int
    failure_reasons: dict[str, str]


class BatchResult(BatchCounts, total=False):
    """Of `export_batch`: `skipped` is there when messages were sampled out or emptied by the filter, `queued` in
    background mode."""

    skipped: int
    queued: int


class ServiceResult(TypedDict):
    """Of a service call: `error_message` is None on success."""

    success: bool
    data: Any
    error_message: Optional[str]


class UploadResult(ServiceResult):
    """Of `upload_config`, in the shape of both generations; `new_config_id` is "" on failure."""

    new_config_id: str


class ClientStats(TypedDict):
    """Of `stats()`. `lost` counts messages that will never arrive, by reason; times are Unix seconds."""

    queued: int
    sent: int
    failed: int
    dropped: int
    retried: int
    spooled: int
    spool_bytes: int
    skipped: int
    coerced: int
    truncated: int
    requests: int
    bytes_sent: int
    connections: int
    lost: dict[str, int]
    last_error: Optional[str]
    last_success: Optional[float]
    bytes_on_disk: int
    oldest_queued_age: float


class FalseDict(dict[str, Any]):
    """A result that is false: `if not client.f(...)` and `result["failed"]` both work."""

    def __bool__(self) -> bool:
        return False


class FailureReasons(dict[str, str]):
    """Index → reason. The keys are texts, as the server sends them; a number finds its text."""

    def __missing__(self, key: Any) -> str:
        if isinstance(key, int):
            return self[str(key)]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(str(key) if isinstance(key, int) else key)

    def get(self, key: Any, default: Any = None) -> Any:
        """As of a dict, by number or text."""
        return super().get(str(key) if isinstance(key, int) else key, default)


class ConfigResult(dict[str, Any]):
    """`{user_id: config}` as in 0.0.11, which also answers `success`, `data` and `error_message` as in 0.0.58.

    Empty, hence false, on failure.
    """

    def __init__(self, service: dict[str, Any]) -> None:
        super().__init__(service["data"] if service["success"] and isinstance(service["data"], dict) else {})
        self._service = service

    def __missing__(self, key: str) -> Any:
        return self._service[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._service

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict; the keys of a service result are found too."""
        return self[key] if key in self else default  # noqa: SIM401 - this is that method


def service_success(data: Any) -> dict[str, Any]:
    """A service result that holds data."""
    return {"success": True, "data": data, "error_message": None}


def service_failure(text: str) -> dict[str, Any]:
    """A service result that holds a reason."""
    return {"success": False, "data": None, "error_message": text}
