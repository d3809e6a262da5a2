"""LiteLLM's callbacks: functions and objects that hear of every attempt, before it is made and when it has ended.

They run in the thread of the call, one after another, before the call returns (of a stream: in the thread that reads it, at its
end). What one raises is logged, ``SystemExit`` too, and does not affect the call; only Ctrl-C in the main thread ends it. LiteLLM
itself hears of a success in a thread of its own, where such an exception is lost, and lets one pass that comes before or after a
failure.
"""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from llmdispatcher._text import room_logger
from llmdispatcher.runtime import Clock, new_lock

from .settings import SETTINGS

logger = room_logger("integrations")

_spending = new_lock()
_REDACTED = "redacted-by-litellm"


StandardLoggingPayload = dict[str, Any]


class CustomLogger:
    """The base of objects that hear of calls; override what you want to hear.

    ``kwargs`` has ``model``, ``messages``, ``optional_params``, ``litellm_params`` with the call's ``metadata``, ``response_cost``
    in US dollars, ``exception`` after a failure, ``complete_streaming_response`` after a stream, and ``standard_logging_object``.
    Times are naive and local. LiteLLM's ``async_*`` methods are never called.
    """

    def __init__(self, turn_off_message_logging: bool = False, message_logging: bool = True, **_: Any) -> None:
        self.turn_off_message_logging = turn_off_message_logging or not message_logging
        self.message_logging = message_logging

    def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:
        """Hear of an attempt before it is made."""

    def log_post_api_call(self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime) -> None:
        """Hear of an attempt when the vendor has answered, well or not."""

    def log_stream_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime) -> None:
        """Hear of each piece of a stream."""

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime) -> None:
        """Hear of an attempt that has succeeded; of a stream when it has ended."""

    def log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime) -> None:
        """Hear of an attempt that has failed; ``kwargs["exception"]`` is why, ``response_obj`` is ``None``."""


def check_callbacks(setting: str, value: Any) -> list[Any]:
    """Return the callbacks of a setting as a list. Raises :class:`ValueError` for what is neither a function nor an object."""
    listed = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    for one in listed:
        if isinstance(one, str):
            raise ValueError(
                f"{setting}: {one!r} is not there; give a function or a CustomLogger, or configure(observers=[...]) with those of"
                " llmdispatcher.integrations: opentelemetry, prometheus, logging"
            )
        if isinstance(one, type):
            raise ValueError(f"{setting}: {one.__name__} is a class; give an object of it, {one.__name__}()")
        if not callable(one) and not isinstance(one, CustomLogger):
            raise ValueError(f"{setting}: {type(one).__name__} is no callback; give a function or a CustomLogger")
    return listed


class Event:
    """One attempt as callbacks hear of it; ``details`` is what they get as ``kwargs``."""

    def __init__(self, details: dict[str, Any], own: Mapping[str, Any], clock: Clock) -> None:
        self.details = details
        self._clock = clock
        self._silent = bool(own.get("no-log"))
        both = check_callbacks("callbacks", SETTINGS.callbacks) + check_callbacks("callbacks", own.get("callbacks"))
        objects = [one for one in both if isinstance(one, CustomLogger)]  # functions among them take an end, too
        self._before = [*objects, *check_callbacks("input_callback", SETTINGS.input_callback)]
        self._after = {
            setting: [*both, *check_callbacks(setting, getattr(SETTINGS, setting)), *check_callbacks(setting, own.get(setting))]
            for setting in ("success_callback", "failure_callback")
        }
        self._begun = clock.monotonic()
        self.started = _local(clock)
        details |= {"start_time": self.started, "api_call_start_time": self.started, "log_event_type": "pre_api_call"}

    def seconds(self) -> float:
        """Seconds since it began."""
        return self._clock.monotonic() - self._begun

    def before(self) -> None:
        """Tell that the attempt is about to be made."""
        self._tell(
            self._before, lambda one, told: one.log_pre_api_call(told["model"], told["messages"], told), lambda one, told: one(told)
        )

    def piece(self, chunk: Any) -> None:
        """Tell of a piece of a stream, to the objects that override ``log_stream_event``."""
        heard = [one for one in self._after["success_callback"] if _hears(one, "log_stream_event")]
        if heard:
            now = _local(self._clock)
            self._tell(heard, lambda one, told: one.log_stream_event(told, chunk, self.started, now), None)

    def succeeded(self, response: Any, cost: float | None, *, streamed: bool = False) -> None:
        """Tell that the attempt has succeeded."""
        self.details |= {"response_cost": cost, "original_response": None, "log_event_type": "successful_api_call"}
        if streamed:
            self.details["complete_streaming_response"] = response
        if cost:
            with _spending:
                SETTINGS._current_cost += cost
        self._end("success_callback", "log_success_event", response)

    def failed(self, error: Exception) -> None:
        """Tell that the attempt has failed."""
        told = "".join(traceback.format_exception_only(error))
        self.details |= {"exception": error, "traceback_exception": told, "response_cost": 0, "log_event_type": "failed_api_call"}
        self._end("failure_callback", "log_failure_event", None)

    def _end(self, setting: str, method: str, response: Any) -> None:
        ended = _local(self._clock)
        self.details["end_time"] = ended
        callbacks = self._after[setting]
        if not callbacks or self._silent:
            return
        self.details["standard_logging_object"] = _standard(self.details, response, self.seconds())

        def to_object(one: Any, told: dict[str, Any]) -> None:
            shown = _redacted(response) if told is not self.details else response
            one.log_post_api_call(told, shown, self.started, ended)
            getattr(one, method)(told, shown, self.started, ended)

        def to_function(one: Any, told: dict[str, Any]) -> None:
            one(told, _redacted(response) if told is not self.details else response, self.started, ended)

        self._tell(callbacks, to_object, to_function)

    def _tell(
        self,
        callbacks: Sequence[Any],
        to_object: Callable[[Any, dict[str, Any]], None],
        to_function: Callable[[Any, dict[str, Any]], None] | None,
    ) -> None:
        if self._silent:
            return
        for one in {id(one): one for one in callbacks}.values():
            hidden = SETTINGS.turn_off_message_logging or getattr(one, "turn_off_message_logging", False)
            told = _without_texts(self.details) if hidden else self.details
            try:
                if isinstance(one, CustomLogger):
                    to_object(one, told)
                elif to_function is not None:
                    to_function(one, told)
            except BaseException as foreign:
                if isinstance(foreign, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise  # Ctrl-C
                named = getattr(one, "__qualname__", type(one).__qualname__)
                place = traceback.extract_tb(foreign.__traceback__)[-1]
                logger.warning("the callback %s raised %s at %s:%s", named, type(foreign).__name__, place.filename, place.lineno)


def _hears(one: Any, method: str) -> bool:
    return isinstance(one, CustomLogger) and getattr(type(one), method) is not getattr(CustomLogger, method)


def _local(clock: Clock) -> datetime:
    return clock.now().astimezone().replace(tzinfo=None)


def _without_texts(details: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {"messages": [{"role": "user", "content": _REDACTED}], "input": _REDACTED}
    told = {**details, **{name: value for name, value in hidden.items() if name in details}}
    for name in ("standard_logging_object",):
        if name in told:
            told[name] = {**told[name], "messages": hidden["messages"], "response": _redacted(told[name]["response"])}
    if "complete_streaming_response" in told:
        told["complete_streaming_response"] = _redacted(told["complete_streaming_response"])
    return told


def _redacted(response: Any) -> Any:
    if response is None:
        return None
    made = copy.deepcopy(response)
    for choice in made.get("choices") or ():
        said = choice.get("message")
        if said is not None:
            said["content"] = _REDACTED
            said.pop("reasoning_content", None)
            if said.get("tool_calls"):
                said["tool_calls"] = None
        if choice.get("text") is not None:
            choice["text"] = _REDACTED
    return made


def _standard(details: Mapping[str, Any], response: Any, seconds: float) -> dict[str, Any]:
    """LiteLLM's ``StandardLoggingPayload``: plain values of what most loggers want."""
    usage = (response.get("usage") if response is not None else None) or {}
    own, error = details["litellm_params"], details.get("exception")
    metadata = own.get("metadata") or {}
    return {
        "id": (response or {}).get("id") or details["litellm_call_id"],
        "litellm_call_id": details["litellm_call_id"],
        "call_type": details["call_type"],
        "status": "success" if error is None else "failure",
        "stream": details["stream"],
        "model": details["model"],
        "model_group": metadata.get("model_group"),
        "model_id": (own.get("model_info") or {}).get("id"),
        "custom_llm_provider": details["custom_llm_provider"],
        "api_base": own.get("api_base") or "",
        "response_cost": details.get("response_cost") or 0.0,
        "prompt_tokens": usage.get("prompt_tokens") or 0,
        "completion_tokens": usage.get("completion_tokens") or 0,
        "total_tokens": usage.get("total_tokens") or 0,
        "startTime": details["start_time"].timestamp(),
        "endTime": details["end_time"].timestamp(),
        "completionStartTime": details["end_time"].timestamp(),
        "response_time": seconds,
        "cache_hit": details.get("cache_hit"),
        "end_user": details.get("user") or "",
        "metadata": dict(metadata),
        "request_tags": list(metadata.get("tags") or ()),
        "messages": details["messages"],
        "response": response.model_dump() if response is not None else None,
        "model_parameters": details["optional_params"],
        "hidden_params": dict(getattr(response, "_hidden_params", None) or {}),
        "error_str": None if error is None else str(error),
        "error_information": None
        if error is None
        else {
            "error_code": str(getattr(error, "status_code", "") or ""),
            "error_class": type(error).__name__,
            "llm_provider": details["custom_llm_provider"],
            "error_message": str(error),
            "traceback": details.get("traceback_exception"),
        },
    }
