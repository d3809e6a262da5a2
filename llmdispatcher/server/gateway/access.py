"""The access log: a line of JSON for each request on the logger ``llmdispatcher.access``. It has facts alone."""

from __future__ import annotations

import json
import logging
import sys

from ..._text import room_logger
from .record import RequestRecord

logger = room_logger("access")


def log_request(record: RequestRecord) -> None:
    """Write down a request that is complete: who asked whom, how it ended, how long it took, what it cost."""
    if not logger.isEnabledFor(logging.INFO):
        return
    usage = record.usage if not record.cached else None
    told = {
        "time": record.begun_at.isoformat(),
        "request_id": record.id,
        "client_request_id": record.client_request_id,
        "key": record.key.id if record.key is not None else None,
        "method": record.method,
        "face": record.face or None,
        "status": record.status,
        "error": record.error,
        "code": record.code,
        "vendor": record.vendor,
        "model": record.model,
        "streamed": record.streamed,
        "cached": record.cached,
        "attempts": len(record.attempts),
        "ms": round(record.took * 1000, 1),
        "first_output_ms": round(record.first_output * 1000, 1) if record.first_output is not None else None,
        "input_tokens": usage.input_tokens if usage is not None else None,
        "output_tokens": usage.output_tokens if usage is not None else None,
        "cost": f"{record.cost:f}" if record.cost is not None else None,
    }
    logger.info("%s", json.dumps(told))


def write_to_stdout() -> None:
    """Have the lines written to the standard output, and nowhere else."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
