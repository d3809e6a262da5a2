"""What hears of every call: rows in the database, and a warning for failures."""

import logging

import litellm
from litellm.integrations.custom_logger import CustomLogger

log = logging.getLogger("desk")


class CallRows(CustomLogger):
    """A row for each attempt."""

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        payload = kwargs["standard_logging_object"]
        self._write(
            kwargs,
            start_time,
            end_time,
            status="success",
            tokens=payload["total_tokens"],
            cost=kwargs.get("response_cost") or 0.0,
        )

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._write(kwargs, start_time, end_time, status="failure", error=type(kwargs["exception"]).__name__)

    def _write(self, kwargs, start_time, end_time, **fields):
        from .models import ModelCall

        metadata = kwargs["litellm_params"].get("metadata") or {}
        ModelCall.objects.create(
            customer=metadata.get("customer", ""),
            purpose=metadata.get("purpose", ""),
            group=metadata.get("model_group", ""),
            deployment=(metadata.get("model_info") or {}).get("id", ""),
            model=kwargs["model"],
            seconds=(end_time - start_time).total_seconds(),
            stream=bool(kwargs.get("stream")),
            **fields,
        )


failures = []


def warn_of_failure(kwargs, completion_response, start_time, end_time):
    """A function as a failure callback."""
    failures.append(type(kwargs["exception"]).__name__)
    log.info("%s failed: %s", kwargs["model"], kwargs["exception"])


def install():
    litellm.callbacks = [CallRows()]
    litellm.failure_callback = [warn_of_failure]
