"""The faults of RELIABILITY.md §2 and PEERS.md §4.4 as tables, for tests that run through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import body, content, head, refusals, stream
from .base import Fault

_TRANSIENT = (408, 409, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_FINAL = (400, 401, 402, 403, 404, 413, 422, 451)

FAULTS: Mapping[str, tuple[Fault, ...]] = MappingProxyType(
    {
        "N9": (head.stale(), head.close_before_head()),
        "H1": (head.silent(),),
        "H2": (head.trickled_head(), head.trickled_status_line()),
        "H3": (head.endless_continue(),),
        "H4": (head.long_header(), head.many_headers(), head.bad_status_line(), head.http_0_9()),
        "H5": (head.length_and_chunked(), head.two_lengths(), head.folded_header(), head.bare_return_in_header()),
        "H6": tuple(head.redirect(code) for code in (301, 302, 303, 307, 308)),
        "B1": (body.trickled_body(),),
        "B2": (head.reset_before_head(), body.reset_midway(0), body.reset_midway(3)),
        "B3": (body.fin_in_chunk(), body.fin_before_last_chunk(), body.bad_chunk_size()),
        "B4": (body.short_body(), body.eof_cut()),
        "B5": (body.trickled_chunk_size(), body.long_chunk_size()),
        "B6": (body.gzip_bomb(),),
        "B7": (
            body.gzip_cut(),
            body.mislabelled("gzip"),
            body.mislabelled("br"),
            body.mislabelled("zstd"),
            body.chained_encodings(),
        ),
        "B8": (
            content.giant_json(),
            content.deep_json(),
            content.huge_integer(),
            content.not_a_number(),
            content.duplicate_keys(),
            content.lone_surrogate(),
        ),
        "B9": (content.html(), content.empty(), content.no_content()),
        "B10": (content.error_in_200(), content.error_event(), content.error_event(3)),
        "S1": (body.bytewise(),),
        "S2": (
            stream.crlf(),
            stream.cr_only(),
            stream.mixed_line_ends(),
            stream.byte_order_mark(),
            stream.comments(),
            stream.odd_fields(),
        ),
        "S3": (stream.truncated_last_event(),),
        "S4": (stream.eof_after(3), stream.cut_after(3), stream.cut_before_words()),
        "S5": (stream.giant_line(), stream.many_events(), stream.many_comments()),
        "S6": (content.invalid_utf8(),),
        "S7": (content.malformed_json(),),
        "S8": (stream.data_after_end(), stream.kept_open()),
        "S9": (stream.pings_for_ever(),),
        "S10": (stream.stall_after(1),),
        "R1": (
            refusals.rate_limit("2"),
            refusals.rate_limit("1.5"),
            refusals.rate_limit_until(2),
            refusals.rate_limit_ms(350),
            refusals.rate_limit_ms(350, retry_after="90"),
            refusals.rate_limit(2),
            refusals.retry_delay("2s"),
        ),
        "R2": (
            *(refusals.rate_limit(odd) for odd in ("-1", "0", "1000000000", "inf", "nan", "abc", "")),
            refusals.rate_limit_until(-3600),
            refusals.rate_limit("1", ("Retry-After", "90")),
            refusals.rate_limit_ms("nan"),
            refusals.retry_delay("soon"),
        ),
        "R3": (refusals.rate_limit(), refusals.quota()),
        "R4": (*(refusals.status(code) for code in _TRANSIENT), content.html(502)),
        "R5": (
            *(refusals.status(code) for code in _FINAL),
            refusals.context_overflow(),
            refusals.filtered(),
            refusals.model_missing(),
        ),
        "R6": (refusals.status(503, ("x-should-retry", "false")), refusals.status(400, ("x-should-retry", "true"))),
    }
)
"""By row of RELIABILITY.md §2: the variants of each row that a server can do on an accepted connection."""

PEER_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "clean EOF after 9 words, no end marker": stream.eof_after(9),
        "connection cut after 9 words": stream.cut_after(9),
        "cut after role chunk only": stream.cut_before_words(),
        "stall after 9 words": stream.stall_after(9),
        "trickle 0.6 s/chunk (12.6 s)": stream.trickle(0.6),
        "malformed SSE line, rest fine": content.malformed_json(),
        "in-band error before text": content.error_event(),
        "silent server": head.silent(),
        '200 with {"error"} body': content.error_in_200(),
        "502 HTML": content.html(502),
        "429 Retry-After: 2": refusals.rate_limit(2),
        "429 Retry-After: 90": refusals.rate_limit(90),
        "429 insufficient_quota": refusals.quota(),
        "400 bad request": refusals.bad_request(),
    }
)
"""By row name of PEERS.md §4.4."""
