"""The service calls: configuration, insights, data, sampling factors. Each is one POST and one service dict.

What an answer means is read by small functions from the decoded body to the data; a `ServiceError` in them, or any
answer that is no success, becomes the failure dict, or the exception where `raise_service_exceptions` asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Callable, Optional, cast

from mona_sdk import texts
from mona_sdk.auth.authenticators.base_authenticator import BaseAuthenticator
from mona_sdk.convert import NotSerializable
from mona_sdk.delivery.attempt import PROTOCOL_HEADERS
from mona_sdk.delivery.http import Limits
from mona_sdk.encode import to_plain
from mona_sdk.errors import MonaAuthenticationException, MonaConfigUploadException, MonaServiceException
from mona_sdk.log import warn_limited
from mona_sdk.patch_points import request
from mona_sdk.results import ConfigResult, FalseDict, ServiceResult, UploadResult, service_failure, service_success
from mona_sdk.service_answers import ServiceError, error_text, part, response_data, validated, whole
from mona_sdk.settings import ClientSettings

UNPROVIDED: Any = texts.UNPROVIDED_VALUE


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not texts.UNPROVIDED_VALUE}


class Services:
    """The service methods of a client. Each returns `{"success", "data", "error_message"}` unless it says otherwise."""

    _settings: ClientSettings
    _app_server_url: str
    authenticator: BaseAuthenticator
    raise_service_exceptions: bool
    _closed: bool

    def upload_config(self, config: dict[str, Any], commit_message: str, author: Optional[str] = None) -> UploadResult:
        """Make `config` the configuration; with or without the user id around it.

        Adds `new_config_id`, "" on failure. The author is the api key unless given.
        """
        user_id = self.authenticator.get_user_id()

        def ask() -> Any:
            writer = author or self.authenticator.default_author()
            if not writer:
                raise ServiceError(texts.AUTHOR_NEEDED)
            if not isinstance(config, dict):
                raise ServiceError(texts.CONFIG_NOT_A_DICT)
            wrapped = config if user_id is not None and set(config) == {user_id} else {user_id: config}
            body = {"config": wrapped, "author": writer, "commit_message": commit_message, "user_id": user_id}
            return self._post("upload_config", body, response_data)

        result = self._service(ask, MonaConfigUploadException)
        data = result["data"]
        identifier = data.get("new_config_id") if isinstance(data, dict) else None
        result["new_config_id"] = str(identifier) if identifier else ""
        return cast(UploadResult, result)

    def get_config(self) -> Any:
        """The configuration as `{user_id: config}`, in the shape that `get_config_shape` sets (see the README)."""
        read = part("raw_configuration_data")
        result = self._call(
            "configs", {}, lambda answer: {self.authenticator.get_user_id(): read(answer)}, MonaConfigUploadException
        )
        shape = self._settings.get_config_shape
        if shape == "service":
            return result
        if shape == "bare":
            return result["data"] if result["success"] else False
        return ConfigResult(result)

    def upload_config_per_context_class(
        self, author: Optional[str], commit_message: str, context_class: str, config: dict[str, Any]
    ) -> ServiceResult:
        """Make `config` the configuration of one class."""
        body = {"author": author, "commit_message": commit_message, "context_class": context_class, "config": config}
        return self._typed("upload_config_for_context_class", body, response_data, MonaConfigUploadException)

    def validate_config(
        self, config: dict[str, Any], list_of_context_ids: Any = UNPROVIDED, latest_amount: Any = UNPROVIDED
    ) -> ServiceResult:
        """Try a configuration on stored contexts, without saving it."""
        body = _given(config=config, list_of_context_ids=list_of_context_ids, latest_amount=latest_amount)
        return self._typed("validate_config", body, validated)

    def validate_config_per_context_class(
        self,
        config: dict[str, Any],
        context_class: str,
        list_of_context_ids: Any = UNPROVIDED,
        latest_amount: Any = UNPROVIDED,
    ) -> ServiceResult:
        """Try a configuration of one class; data is the whole answer."""
        body = _given(
            user_id=self.authenticator.get_user_id(),
            config=config,
            context_class=context_class,
            list_of_context_ids=list_of_context_ids,
            latest_amount=latest_amount,
        )
        return self._typed("validate_config_per_context_class", body, whole)

    def get_suggested_config(self) -> ServiceResult:
        """The configuration with the fields that have arrived and that nobody has configured."""
        return self._typed("get_new_config_fields", {}, part("suggested_config"))

    def get_suggested_config_from_user_input(self, events: Any) -> ServiceResult:
        """A configuration for the given messages."""
        return self._typed("suggest_new_config", {"events": events}, part("suggested_config"))

    def get_config_history(self, number_of_revisions: Any = UNPROVIDED) -> ServiceResult:
        """Revisions, newest first: data maps the server's sentence to them, and `number_of_revisions` to their number."""

        def read(answer: dict[str, Any]) -> dict[str, Any]:
            sentence, configs = answer.get("msg"), answer.get("configs")
            if sentence is None or configs is None:
                raise ServiceError(texts.EMPTY_HISTORY)
            number = len(configs) if number_of_revisions == texts.UNPROVIDED_VALUE else number_of_revisions
            return {str(sentence): configs, "number_of_revisions": number}

        return self._typed("get_config_history", _given(number_of_revisions=number_of_revisions), read)

    def get_insights(
        self,
        context_class: str,
        min_segment_size: float,
        insight_types: Any = UNPROVIDED,
        metric_name: Any = UNPROVIDED,
        min_insight_score: Any = UNPROVIDED,
        time_range_seconds: Any = UNPROVIDED,
        first_discovered_on_range_seconds: Any = UNPROVIDED,
    ) -> ServiceResult:
        """Insights of a class."""
        body = _given(
            context_class=context_class,
            min_segment_size=min_segment_size,
            insight_types=insight_types,
            metric_name=metric_name,
            min_insight_score=min_insight_score,
            time_range_seconds=time_range_seconds,
            first_discovered_on_range_seconds=first_discovered_on_range_seconds,
        )
        return self._typed("insights", body, response_data)

    def get_ingested_data_for_a_specific_segment(
        self,
        context_class: str,
        start_time: Any,
        end_time: Any,
        segment: dict[str, Any],
        sampling_threshold: Any = UNPROVIDED,
        excluded_segments: Any = UNPROVIDED,
    ) -> ServiceResult:
        """The contexts of a segment, as a list; times are Unix seconds, half open."""
        body = _given(
            context_class=context_class,
            start_time=start_time,
            end_time=end_time,
            segment=segment,
            sampling_threshold=sampling_threshold,
            excluded_segments=excluded_segments,
        )
        return self._typed("get_ingested_data", body, part("crcs"))

    def get_aggregated_data_of_a_specific_segment(
        self,
        context_class: str,
        timestamp_from: Any,
        timestamp_to: Any,
        time_series_resolutions: Any = UNPROVIDED,
        with_histogram: Any = UNPROVIDED,
        time_zone: Any = UNPROVIDED,
        metrics: Any = UNPROVIDED,
        requested_segments: Any = UNPROVIDED,
        excluded_segments: Any = UNPROVIDED,
        baseline_segment: Any = UNPROVIDED,
        timestamp_field_name: Any = UNPROVIDED,
        right_inclusive: Any = UNPROVIDED,
        include_super_segments: Any = UNPROVIDED,
        time_series_offset_seconds: Any = UNPROVIDED,
    ) -> ServiceResult:
        """Statistics of segments in a time range (Unix seconds); data is `{"aggregated_data": ...}`."""
        body = _given(
            context_class=context_class,
            timestamp_from=timestamp_from,
            timestamp_to=timestamp_to,
            time_series_resolutions=time_series_resolutions,
            with_histogram=with_histogram,
            time_zone=time_zone,
            metrics=metrics,
            requested_segments=requested_segments,
            excluded_segments=excluded_segments,
            baseline_segment=baseline_segment,
            timestamp_field_name=timestamp_field_name,
            right_inclusive=right_inclusive,
            include_super_segments=include_super_segments,
            time_series_offset_seconds=time_series_offset_seconds,
        )
        return self._typed("get_segment", body, lambda answer: {"aggregated_data": response_data(answer)})

    def get_aggregated_stats_of_a_specific_segmentation(
        self,
        context_class: str,
        dimension: Any,
        target_time_range: Sequence[Any],
        compared_time_range: Sequence[Any],
        metric_1_field: str,
        metric_2_field: str,
        metric_1_type: str,
        metric_2_type: str,
        min_segment_size: float,
        sort_function: str,
        baseline_segment: Any = UNPROVIDED,
        excluded_segments: Any = UNPROVIDED,
        target_segments_filter: Any = UNPROVIDED,
        compared_segments_filter: Any = UNPROVIDED,
        timestamp_field_name: Any = UNPROVIDED,
        metric_1_secondary_field: Any = UNPROVIDED,
        metric_2_secondary_field: Any = UNPROVIDED,
    ) -> ServiceResult:
        """The segments of a field with two metrics each, in two time ranges."""
        body = _given(
            context_class=context_class,
            dimension=dimension,
            target_time_range=target_time_range,
            compared_time_range=compared_time_range,
            metric_1_field=metric_1_field,
            metric_2_field=metric_2_field,
            metric_1_type=metric_1_type,
            metric_2_type=metric_2_type,
            min_segment_size=min_segment_size,
            sort_function=sort_function,
            baseline_segment=baseline_segment,
            excluded_segments=excluded_segments,
            target_segments_filter=target_segments_filter,
            compared_segments_filter=compared_segments_filter,
            timestamp_field_name=timestamp_field_name,
            metric_1_secondary_field=metric_1_secondary_field,
            metric_2_secondary_field=metric_2_secondary_field,
        )
        return self._typed("get_segments_for_dimensions", body, response_data)

    def create_openai_context_class(self, context_class: str, openai_api_type: str) -> ServiceResult:
        """Make sure that a class for LLM calls exists."""
        body = {"context_class": context_class, "openai_api_type": openai_api_type}
        return self._typed("create_openai_context_class", body, response_data)

    def get_sampling_factors(self) -> ServiceResult:
        """All sampling configurations: a list of `{config_name, factors_map?, default_factor?}`."""
        return self._typed("get_sampling_factors", {"config_name": None}, response_data)

    def create_sampling_factor(
        self, config_name: str, sampling_factor: float, context_class: Optional[str] = None
    ) -> ServiceResult:
        """Set the rate of a class, or the default, in a sampling configuration; data is True."""
        body = {"config_name": config_name, "sampling_factor": sampling_factor, "context_class": context_class}
        return self._typed("create_sampling_factor", body, response_data)

    def initiate_csv_upload_request(
        self,
        file_path: str,
        context_class: str,
        context_id_field: Optional[str] = None,
        export_timestamp_field: Optional[str] = None,
    ) -> Any:
        """Ask the server to read a file that it can see; returns the server's JSON, a service dict on failure."""
        body = {
            "file_path": file_path,
            "context_class": context_class,
            "context_id_field": context_id_field,
            "export_timestamp_field": export_timestamp_field,
        }
        result = self._call("initiate_csv_upload_request", body, whole)
        return result["data"] if result["success"] else result

    def _typed(
        self,
        path: str,
        body: dict[str, Any],
        read: Callable[[dict[str, Any]], Any],
        exception: type[MonaServiceException] = MonaServiceException,
    ) -> ServiceResult:
        return cast(ServiceResult, self._call(path, body, read, exception))

    def _call(
        self,
        path: str,
        body: dict[str, Any],
        read: Callable[[dict[str, Any]], Any],
        exception: type[MonaServiceException] = MonaServiceException,
    ) -> dict[str, Any]:
        return self._service(lambda: self._post(path, body, read), exception)

    def _service(self, ask: Callable[[], Any], exception: type[MonaServiceException]) -> dict[str, Any]:
        """The service dict of `ask()`, or its failure as dict or exception."""
        if not self._ready(self._settings.service_timeout):
            text = self._hinted(texts.CLOSED if self._closed else texts.NOT_AUTHENTICATED)
            if self.authenticator.raise_auth_exceptions and not self._closed:
                raise MonaAuthenticationException(text)
            return FalseDict(service_failure(text))
        try:
            return service_success(ask())
        except ServiceError as problem:
            text = self._hinted(str(problem) or texts.NO_SERVICE_ANSWER)
        except NotSerializable as problem:
            text = self._hinted(f"the call is not JSON serializable: {problem}")
        if self.raise_service_exceptions:
            raise exception(text)
        warn_limited(f"{id(self)}:{text}", "%s", text)
        return service_failure(text)

    def _ready(self, limit_s: float) -> bool:
        """Whether calls can be made. Asks for a token only where there is none, for `limit_s` seconds at most."""
        auth = self.authenticator
        return not self._closed and (auth.is_authenticated() or auth.ensure(time.monotonic() + limit_s))

    def _hinted(self, text: str) -> str:
        return text + texts.NO_AUTH_HINT if self._settings.mode == "NO_AUTH" else text

    def _post(self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> Any:
        """One call; a refused token is renewed once. Raises ServiceError for whatever is no success."""
        plain, _ = to_plain(body, path)
        deadline = time.monotonic() + self._settings.connect_timeout + self._settings.service_timeout
        if not self.authenticator.ensure(deadline):
            text = self.authenticator.refusal()
            if self.authenticator.raise_auth_exceptions:
                raise MonaAuthenticationException(self._hinted(text))
            raise ServiceError(text)
        token = self.authenticator.get_current_token()
        response = self._request(path, plain, deadline)
        if getattr(response, "status_code", None) == 401 and self.authenticator.renew(token, deadline):
            response = self._request(path, plain, deadline)
        try:
            answer = response.json()
        except Exception:  # noqa: BLE001 - a patched answer may raise anything
            answer = None
        if not isinstance(answer, dict):
            status = getattr(response, "status_code", None)
            detail = f" HTTP {status}." if isinstance(status, int) and not response.ok else ""
            raise ServiceError(texts.NO_SERVICE_ANSWER + detail)
        problem = error_text(answer)
        if problem or not response.ok or answer.get("success") is False:
            raise ServiceError(problem or texts.NO_SERVICE_ANSWER)
        return read(answer)

    def _request(self, path: str, body: dict[str, Any], deadline: float) -> Any:
        headers = {**PROTOCOL_HEADERS, **self.authenticator.get_auth_header()}
        limits = Limits(self._settings.connect_timeout, self._settings.service_timeout, deadline)
        try:
            return request("POST", f"{self._app_server_url}/{path}", headers=headers, json=body, timeout=limits)
        except Exception:  # noqa: BLE001 - no connection, a bad address, or a patched carrier
            raise ServiceError(texts.NO_APP_SERVER) from None
