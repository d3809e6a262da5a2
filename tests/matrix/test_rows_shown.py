"""Which test shows which row of the fault matrix. Rows about a ledger, receipts or a gateway are left to those who build them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from llmdispatcher.testing import FAULTS, UNREACHABLE

from .test_rows import EXPECTED

TESTS = Path(__file__).resolve().parents[1]
WAYS = ("matrix/test_rows.py::test_row", "matrix/test_ways.py::test_row")
DEAD = (
    "matrix/test_dead_ends.py::test_row",
    "matrix/test_dead_ends.py::test_a_dead_end_costs_its_limit_and_then_the_next_vendor_answers",
)
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "N1": (*DEAD, "matrix/test_callers.py::test_a_refused_connection_goes_elsewhere_without_waiting"),
    "N2": (*DEAD, "transport/test_network_faults.py::test_a_black_hole_ends_at_the_connect_limit"),
    "N3": (
        "transport/test_resolver.py::test_an_unknown_name_is_unsent",
        "transport/test_resolver.py::test_a_failure_is_believed_for_a_second",
    ),
    "N4": (
        "transport/test_resolver.py::test_a_mute_resolver_ends_at_the_deadline",
        "transport/test_resolver.py::test_stuck_lookups_hold_few_threads",
        "transport/test_resolver.py::test_old_addresses_serve_when_the_resolver_is_mute",
    ),
    "N5": (
        "transport/test_network_faults.py::test_tls_that_cannot_be_trusted_is_final_here",
        "transport/test_network_faults.py::test_plain_http_on_a_tls_port_is_final_here",
    ),
    "N6": (*DEAD, "transport/test_network_faults.py::test_the_deadline_ends_every_phase"),
    "N7": (*DEAD, "transport/test_network_faults.py::test_a_stalled_upload_ends_at_the_deadline"),
    "N8": ("transport/test_network_faults.py::test_silence_in_the_answer_has_its_own_limit",),
    "N9": (*WAYS, "transport/test_network_faults.py::test_a_stale_connection_is_replaced_once"),
    "N10": (
        "matrix/test_callers.py::test_connections_are_reused_and_bounded",
        "transport/test_network_faults.py::test_a_full_pool_waits_no_longer_than_the_deadline",
        "transport/test_network_faults.py::test_a_full_pool_within_one_attempt_is_overload",
    ),
    **{f"H{number}": WAYS for number in range(1, 6)},
    "H6": (*WAYS, "transport/test_network_faults.py::test_redirects_are_not_followed"),
    **{f"B{number}": WAYS for number in range(1, 11)},
    "S1": (*WAYS, "wire/test_sse.py::test_every_two_and_three_cut_gives_the_same_events"),
    "S2": (*WAYS, "wire/test_sse.py::test_a_stream_is_read_as_the_standard_says"),
    "S3": WAYS,
    "S4": (*WAYS, "matrix/test_peers.py::test_row"),
    "S5": (*WAYS, "wire/test_sse.py::test_eight_megabytes_in_small_reads_take_linear_time"),
    "S6": WAYS,
    "S7": WAYS,
    "S8": (*WAYS, "matrix/test_rows.py::test_a_stream_ends_with_its_end_mark"),
    "S9": WAYS,
    "S10": WAYS,
    "R1": (
        *WAYS,
        "resilience/test_retry.py::test_a_hint_is_never_undercut",
        "resilience/test_retry.py::test_a_wait_beyond_the_deadline_is_not_begun",
    ),
    "R2": (*WAYS, "wire/test_hints.py::test_a_hint_in_headers_is_understood"),
    "R3": (*WAYS, "vendors/test_several_keys.py::test_the_next_key_is_tried_at_once"),
    "R4": WAYS,
    "R5": (*WAYS, "resilience/test_retry.py::test_a_target_that_cannot_recover_is_out"),
    "R6": (*WAYS, "matrix/test_rows.py::test_a_word_about_retrying_is_obeyed"),
    "R7": (
        "dispatcher/test_outages.py::test_a_full_outage_is_no_storm",
        "dispatcher/test_outages.py::test_it_recovers_within_two_probe_periods",
    ),
    "R8": ("dispatcher/test_outages.py::test_random_errors_are_retried_away",),
    "R9": ("matrix/test_rows.py::test_a_word_about_retrying_is_obeyed",),
    "K1": (
        "matrix/test_ways.py::test_row",
        "resilience/test_breaker.py::test_half_open_lets_the_probes_out_and_no_more",
        "resilience/test_breaker.py::test_a_probe_that_is_never_heard_of_is_forgotten",
        "resilience/test_breaker.py::test_open_times_double_to_their_most",
        "resilience/test_breaker.py::test_a_forced_success_closes_and_a_forced_failure_changes_nothing",
    ),
    "K2": (
        "matrix/test_ways.py::test_row",
        "resilience/test_breaker.py::test_what_the_target_did_counts_and_what_the_caller_did_never",
    ),
    "G1": (
        "matrix/test_ways.py::test_row",
        "matrix/test_ways.py::test_both_answer_at_once",
        "dispatcher/test_hedging.py::test_a_slow_target_is_overtaken",
        "dispatcher/test_hedging.py::test_the_share_is_never_exceeded",
    ),
    "G2": ("matrix/test_ways.py::test_row", "dispatcher/test_hedging.py::test_a_stream_that_speaks_is_never_hedged"),
    "C1": (
        "matrix/test_callers.py::test_dropping_the_handle_hangs_up",
        "dispatcher/test_streaming.py::test_a_handle_in_a_cycle_is_noticed_by_the_collector",
    ),
    "C2": (
        "matrix/test_callers.py::test_a_slow_reader_holds_the_vendor_back",
        "transport/test_network_faults.py::test_the_idle_limit_counts_waiting_not_thinking",
    ),
    "C3": (
        "matrix/test_callers.py::test_a_stalled_vendor_is_left_at_once",
        "matrix/test_callers.py::test_closing_from_a_signal_handler_is_safe",
        "dispatcher/test_streaming.py::test_closing_twice_and_from_another_thread_is_fine",
    ),
    "C4": (
        "matrix/test_callers.py::test_a_reader_that_breaks_off_hangs_up",
        "matrix/test_callers.py::test_ctrl_c_while_reading_ends_the_stream",
    ),
    "C5": ("dispatcher/test_streaming.py::test_two_threads_share_a_stream_without_loss",),
    "P1": (
        "dispatcher/test_admission.py::test_two_hundred_callers_of_whom_fifty_may",
        "dispatcher/test_admission.py::test_a_wait_ends_with_the_deadline",
        "dispatcher/test_admission.py::test_a_small_tenant_does_not_starve_behind_a_flood",
        "dispatcher/test_in_flight.py::test_without_another_target_calls_wait_for_each_other",
        "dispatcher/test_in_flight.py::test_a_call_that_waits_ends_at_its_deadline",
        "transport/test_network_faults.py::test_a_full_pool_within_one_attempt_is_overload",
    ),
    "P2": (
        "process/test_callers_by_thousands.py::test_two_thousand_blocked_callers",
        "dispatcher/test_admission.py::test_a_stream_waits_before_it_begins",
    ),
    "P3": (
        "process/test_scarcity.py::test_a_process_that_can_start_no_thread",
        "process/test_scarcity.py::test_a_stream_without_a_thread_is_overloaded",
        "process/test_scarcity.py::test_hedging_without_threads_asks_alone",
    ),
    "P4": (
        "process/test_scarcity.py::test_a_process_without_descriptors",
        "transport/test_network_faults.py::test_no_descriptor_left_is_unsent",
    ),
    "P5": ("process/test_scarcity.py::test_a_process_without_memory",),
    "P6": (
        "process/test_callbacks.py::test_observers_are_isolated",
        "process/test_callbacks.py::test_permits_come_back_whatever_fails",
        "process/test_callbacks.py::test_a_tokenizer_that_fails_is_done_without",
    ),
    "F1": (
        "process/test_forks.py::test_with_a_stream_and_calls_under_way",
        "process/test_forks.py::test_with_warm_pools_and_an_open_cache",
        "process/test_forks.py::test_with_every_lock_held",
        "process/test_fork_traffic.py::test_parent_and_children_each_hear_their_own_answers",
    ),
    "F2": ("process/test_servers.py::test_uwsgi_with_and_without_threads",),
    "F3": (
        "process/test_gevent.py::test_greenlets_wait_side_by_side",
        "process/test_gevent.py::test_a_patch_after_the_import_is_refused",
    ),
    "X1": (
        "process/test_endings.py::test_a_process_with_live_streams_ends_at_once",
        "process/test_endings.py::test_work_at_exit_is_done_or_refused",
    ),
    "X2": ("process/test_servers.py::test_streams_end_with_an_error_event_before_gunicorn_kills",),
    "X3": ("process/test_endings.py::test_a_process_with_live_streams_ends_at_once",),
    "X4": (
        "process/test_endings.py::test_deadlines_that_pass_while_stopped_fire_once",
        "process/test_endings.py::test_retries_that_wait_while_stopped_come_once",
    ),
    "T1": (
        "process/test_clocks.py::test_deadlines_and_waits_keep_their_length",
        "process/test_clocks.py::test_what_policies_remember_keeps_its_age",
    ),
    "T2": ("process/test_clocks.py::test_backoff_computes_and_never_waits",),
    "L1": (
        "matrix/test_canary.py::test_no_fault_tells_a_secret",
        "matrix/test_canary.py::test_no_end_of_a_call_tells_a_secret",
        "matrix/test_ways.py::test_row",
    ),
    "L2": (
        "process/test_keys.py::test_it_is_refused_when_the_vendor_is_made",
        "transport/test_outgoing.py::test_a_header_value_that_cannot_be_sent_is_refused",
    ),
    "anomalies": ("matrix/test_anomalies.py::test_whichever_operation_fails",),
}
ROWS = {"N": 10, "H": 6, "B": 10, "S": 10, "R": 9, "K": 2, "G": 2, "C": 5, "P": 6, "F": 3, "X": 4, "T": 2, "L": 2}


@functools.cache
def named_in(path: Path) -> frozenset[str]:
    """The tests that a file defines."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def test_every_row_is_here():
    """N to L, without those of ledger, receipts and gateway; and the loop of anomalies."""
    rows = {f"{letter}{number}" for letter, most in ROWS.items() for number in range(1, most + 1)}

    assert rows | {"anomalies"} == set(SHOWN_BY)


def test_every_row_is_shown():
    """By tests that exist."""
    shown = [name.split("::") for names in SHOWN_BY.values() for name in names]

    assert [] == [f"{path}::{name}" for path, name in shown if name not in named_in(TESTS / path)]


def test_rows_that_run_through_all_ways_have_faults():
    """A row that the tables of ways are said to show has variants, and an end that it may have."""
    assert {row for row, shown in SHOWN_BY.items() if set(WAYS) <= set(shown)} == set(FAULTS) == set(EXPECTED)
    assert {row for row, shown in SHOWN_BY.items() if set(DEAD) <= set(shown)} == set(UNREACHABLE)
