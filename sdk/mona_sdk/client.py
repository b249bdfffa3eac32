"""The client: prepares messages, hands them to the delivery, and says what became of them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional, TypeVar, Union, cast

from mona_sdk import texts
from mona_sdk.auth.authenticators.factory import get_authenticator
from mona_sdk.compat import (
    APP_SERVER_CONNECTION_ERROR_MESSAGE,
    AUTHENTICATED_ENDPOINT,
    CONTEXT_CLASS_FIELD_NAME,
    CONTEXT_ID_FIELD_NAME,
    GET_CONFIG_ERROR_MESSAGE,
    UNAUTHENTICATED_ENDPOINT,
    UNPROVIDED_VALUE,
    UPLOAD_CONFIG_ERROR_MESSAGE,
    Decorators,
    environment_constants,
)
from mona_sdk.delivery import fork
from mona_sdk.delivery import http as requests
from mona_sdk.delivery.attempt import Endpoint
from mona_sdk.delivery.owner import Owner
from mona_sdk.delivery.registry import registry
from mona_sdk.delivery.work import Item
from mona_sdk.delivery.worker import Worker
from mona_sdk.encode import tail
from mona_sdk.errors import MonaAuthenticationException, MonaExportException
from mona_sdk.export import ExportReport, send_now
from mona_sdk.log import get_logger
from mona_sdk.message import MonaSingleMessage
from mona_sdk.patch_points import jwt
from mona_sdk.prepare import Preparer, Refusal, Skipped
from mona_sdk.results import BatchResult, ClientStats
from mona_sdk.sampling import FixedRates, NamedRates
from mona_sdk.service_answers import ServiceError, response_data
from mona_sdk.services import Services
from mona_sdk.settings import addresses, resolve

__all__ = [
    "APP_SERVER_CONNECTION_ERROR_MESSAGE",
    "AUTHENTICATED_ENDPOINT",
    "CONTEXT_CLASS_FIELD_NAME",
    "CONTEXT_ID_FIELD_NAME",
    "GET_CONFIG_ERROR_MESSAGE",
    "UNAUTHENTICATED_ENDPOINT",
    "UNPROVIDED_VALUE",
    "UPLOAD_CONFIG_ERROR_MESSAGE",
    "Client",
    "Decorators",
    "MonaSingleMessage",
    "jwt",
    "requests",
]

# The constants that the original reads from the environment, e.g. RAISE_CONFIG_EXCEPTIONS; clients do not use them.
globals().update(environment_constants())

# Messages prepared between two visits to the lock of the queue.
ENQUEUE_TOGETHER = 256

Self = TypeVar("Self", bound="Client")


class Client(Services):
    """Sends messages to a Mona server and asks it for configurations, insights and data.

    Give `api_key` and `secret`, or set `MONA_SDK_API_KEY` and `MONA_SDK_SECRET`. Every argument that is None comes from
    the environment, else from the defaults of the README. Nothing raises unless one of the `raise_...` arguments asks
    for it. One client serves any number of threads.
    """

    def __init__(
        self,
        api_key: Optional[str] = None,
        secret: Optional[str] = None,
        raise_authentication_exceptions: Optional[bool] = None,
        raise_export_exceptions: Optional[bool] = None,
        raise_service_exceptions: Optional[bool] = None,
        num_of_retries_for_authentication: Optional[int] = None,
        wait_time_for_authentication_retries: Optional[float] = None,
        should_log_failed_messages: Optional[bool] = None,
        should_use_ssl: Optional[bool] = None,
        should_use_authentication: Optional[bool] = None,
        auth_mode: Optional[str] = None,
        override_rest_api_full_url: Optional[str] = None,
        override_rest_api_host: Optional[str] = None,
        override_app_server_host: Optional[str] = None,
        override_app_server_full_url: Optional[str] = None,
        user_id: Optional[str] = None,
        filter_none_fields_on_export: Optional[bool] = None,
        default_sampling_rate: Optional[float] = None,
        context_class_to_sampling_rate: Optional[dict[str, float]] = None,
        sampling_config_name: Optional[str] = None,
        access_token: Optional[str] = None,
        oidc_scope: Optional[str] = None,
        auth_api_token_url: Optional[str] = None,
        refresh_token_url: Optional[str] = None,
        should_use_refresh_tokens: Optional[bool] = None,
        *,
        server_url: Optional[str] = None,
        background: Optional[bool] = None,
        get_config_shape: Optional[str] = None,
        connect_timeout: Optional[float] = None,
        read_timeout: Optional[float] = None,
        service_timeout: Optional[float] = None,
        export_deadline: Optional[float] = None,
        max_retries: Optional[int] = None,
        compression: Optional[str] = None,
        max_queue_messages: Optional[int] = None,
        max_queue_bytes: Optional[int] = None,
        batch_max_messages: Optional[int] = None,
        batch_max_bytes: Optional[int] = None,
        flush_interval: Optional[float] = None,
        max_request_bytes: Optional[int] = None,
        max_message_bytes: Optional[int] = None,
        spool_dir: Optional[str] = None,
        spool_max_bytes: Optional[int] = None,
        shutdown_timeout: Optional[float] = None,
        before_send: Optional[Callable[[dict[str, Any]], Optional[dict[str, Any]]]] = None,
        on_error: Optional[Callable[[str, list[Any]], Any]] = None,
    ) -> None:
        arguments = dict(locals())
        settings = self._settings = resolve(arguments)
        where = addresses(settings)
        self._api_key = settings.api_key
        self._rest_api_url, self._app_server_url = where.send, where.services
        self._sampling_config_name = settings.sampling_config_name
        self.raise_export_exceptions = settings.raise_export_exceptions
        self.raise_service_exceptions = settings.raise_service_exceptions
        self.should_log_failed_messages = settings.should_log_failed_messages
        self.should_use_ssl = settings.should_use_ssl
        self.filter_none_fields_on_export = settings.filter_none_fields_on_export
        self._closed = False
        get_logger()
        self.authenticator = get_authenticator(settings, where)
        self._owner = Owner(settings.on_error, log_failed=settings.should_log_failed_messages)
        self._preparer = Preparer(settings, self._sampling_rates(), self._owner.stats)
        self._endpoint = Endpoint(settings, where.send, self.authenticator)
        self._worker: Optional[Worker] = None
        self._endings: dict[Optional[str], bytes] = {}
        self._start()

    def _start(self) -> None:
        """Authenticate, and join the worker in background mode."""
        self.authenticator.initial_auth()
        self._user_id = self.authenticator.get_user_id()
        if self._settings.background:
            self._worker = registry.open(self._settings, self._endpoint, self._owner, awaited=False)

    def _sampling_rates(self) -> Union[FixedRates, NamedRates]:
        settings = self._settings
        if not settings.sampling_config_name:
            return FixedRates(settings.default_sampling_rate, settings.context_class_to_sampling_rate)
        # Weakly: the rates must not keep a client that its program has dropped.
        me = weakref.ref(self)

        def fetch() -> Any:
            client = me()
            return None if client is None else client._fetch_sampling_factors()

        rates = NamedRates(settings.sampling_config_name, fetch, settings.sampling_factors_max_age_seconds)
        fork.renew_in_child(rates)
        return rates

    def _fetch_sampling_factors(self) -> Any:
        try:
            return self._post("get_sampling_factors", {"config_name": self._sampling_config_name}, response_data)
        except (ServiceError, MonaAuthenticationException):
            return None

    def is_active(self) -> bool:
        """Whether the client is authenticated and open."""
        return not self._closed and self.authenticator.is_authenticated()

    def export(self, message: MonaSingleMessage, filter_none_fields: Optional[bool] = None) -> bool:
        """Send one message; True when the server has it (in background mode: when the queue has it)."""
        worker = self._worker
        if worker is not None and self._ready(self._settings.export_deadline):
            report = self._enqueue_one(worker, message, filter_none_fields)
            if report is None:
                return True
        else:
            report = self._export((message,), None, filter_none_fields)
        self._conclude(report)
        return not report.failed

    def export_batch(
        self,
        events: Iterable[MonaSingleMessage],
        default_action: Optional[str] = None,
        filter_none_fields: Optional[bool] = None,
    ) -> BatchResult:
        """Send messages; `{"total", "failed", "sent", "failure_reasons"}`, whatever happens.

        One bad message fails alone. `default_action` holds for messages without an action of their own.
        """
        given: Any = events
        if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
            report = ExportReport(self._owner)
            report.refuse(0, events, Refusal(texts.NOT_ITERABLE, texts.NOT_ITERABLE))
        else:
            report = self._export(events, default_action, filter_none_fields)
        self._conclude(report)
        return report.result()

    def send_event(self, message: MonaSingleMessage, filter_none_fields: Optional[bool] = None) -> bool:
        """The same as `export`."""
        return self.export(message, filter_none_fields)

    def send_events_batch(
        self,
        events: Iterable[MonaSingleMessage],
        default_action: Optional[str] = None,
        filter_none_fields: Optional[bool] = None,
    ) -> BatchResult:
        """The same as `export_batch`."""
        return self.export_batch(events, default_action, filter_none_fields)

    def export_table(
        self,
        table: Any,
        context_class: str,
        id_column: Optional[str],
        timestamp_column: Optional[str] = None,
        columns: Optional[Iterable[Any]] = None,
        action: Optional[str] = None,
    ) -> BatchResult:
        """Send each row of a table as a message; the dict of `export_batch`, places being row numbers.

        `table` is a pandas or polars DataFrame, an Arrow table, record batch or reader, or an object with
        `__dataframe__` or `__arrow_c_stream__`. `columns` (default: all but id and timestamp) are the content; missing
        cells are left out. The table is read in chunks. Raises ValueError for an unknown column, TypeError for
        something that is no table.
        """
        from mona_sdk.tables import messages_of

        return self.export_batch(
            messages_of(table, context_class, id_column, timestamp_column, columns, action), filter_none_fields=False
        )

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until all that is queued is delivered or on disk, `timeout` seconds at most (None: 60).

        False when time ends, when something was lost, or when the client is closed. Without a queue there is nothing
        to do.
        """
        if self._closed:
            return False
        return True if self._worker is None else self._worker.flush(timeout)

    def close(self, timeout: Optional[float] = None) -> bool:
        """Deliver what is queued, for at most `timeout` seconds (None: `shutdown_timeout`), and end.

        What is left goes to the spool, else it is counted and logged. True when nothing was lost.
        """
        if self._closed:
            return True
        self._closed = True
        worker, self._worker = self._worker, None
        limit = self._settings.shutdown_timeout if timeout is None else timeout
        return True if worker is None else registry.release(worker, limit)

    def stats(self) -> ClientStats:
        """What became of the messages of this client, counted; see ClientStats."""
        worker = self._worker
        on_disk = worker.spool_bytes if worker else 0
        return cast(
            ClientStats,
            {
                "queued": worker.queued if worker else 0,
                "spool_bytes": on_disk,
                "bytes_on_disk": on_disk,
                "oldest_queued_age": worker.oldest_age if worker else 0.0,
                **self._owner.stats.snapshot(),
            },
        )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rest_api_url!r}, {self.authenticator!r})"

    def _export(
        self, events: Iterable[Any], default_action: Optional[str], filter_none: Optional[bool]
    ) -> ExportReport:
        report = ExportReport(self._owner)
        if not self._ready(self._settings.export_deadline):
            report.not_authenticated = not self._closed
            report.fail_all(events, texts.CLOSED if self._closed else texts.NOT_AUTHENTICATED)
            return report
        ending = self._ending(default_action)
        if self._worker is not None:
            self._enqueue(self._worker, events, filter_none, ending, report)
        else:
            send_now(self._endpoint, self._settings, self._prepared(events, filter_none, report), ending, report)
        return report

    def _ending(self, default_action: Optional[str]) -> bytes:
        """The end of every body, made once for each default action."""
        ending = self._endings.get(default_action)
        if ending is None:
            if self._user_id is None:
                self._user_id = self.authenticator.get_user_id()
            ending = tail(self._user_id, default_action, self._sampling_config_name)
            if self._user_id is not None or self._settings.mode != "MONA":
                self._endings[default_action] = ending
        return ending

    def _enqueue_one(self, worker: Worker, event: Any, filter_none: Optional[bool]) -> Optional[ExportReport]:
        """Queue one message; a report only when something is wrong. This is what a program waits for at each export."""
        prepared = self._preparer.prepare(event, filter_none)
        if isinstance(prepared, Skipped):
            return None
        if not isinstance(prepared, Refusal) and worker.submit(
            (Item(prepared[0], self._ending(None), prepared[1], self._owner),)
        ):
            return None
        report = ExportReport(self._owner)
        if isinstance(prepared, Refusal):
            report.refuse(0, event, prepared)
        else:
            self._owner.stats.lose("queue_full")
            report.lose(0, event, texts.QUEUE_FULL)
        return report

    def _prepared(
        self, events: Iterable[Any], filter_none: Optional[bool], report: ExportReport
    ) -> Iterator[tuple[int, bytes, MonaSingleMessage]]:
        """(place, bytes, message) of what is to be sent."""
        prepare = self._preparer.prepare
        for place, event in enumerate(events):
            prepared = prepare(event, filter_none)
            if isinstance(prepared, Refusal):
                report.refuse(place, event, prepared)
            elif isinstance(prepared, Skipped):
                report.skipped += 1
            else:
                yield place, prepared[0], prepared[1]

    def _enqueue(
        self, worker: Worker, events: Iterable[Any], filter_none: Optional[bool], ending: bytes, report: ExportReport
    ) -> None:
        report.queued = 0
        prepared = self._prepared(events, filter_none, report)
        while True:
            part = list(itertools.islice(prepared, ENQUEUE_TOGETHER))
            if not part:
                return
            accepted = worker.submit([Item(raw, ending, event, self._owner) for _, raw, event in part])
            report.queued += accepted
            report.total += accepted
            if accepted < len(part):
                self._owner.stats.lose("queue_full", len(part) - accepted)
                for place, _, event in part[accepted:]:
                    report.lose(place, event, texts.QUEUE_FULL)

    def _conclude(self, report: ExportReport) -> None:
        """Tell about failures, and raise where that is wanted."""
        if not report.failed:
            return
        report.tell()
        text = self._hinted(report.exception_text)
        if report.not_authenticated and self.authenticator.raise_auth_exceptions:
            raise MonaAuthenticationException(text)
        if self.raise_export_exceptions:
            raise MonaExportException(text)
