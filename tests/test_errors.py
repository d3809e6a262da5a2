"""Errors carry facts, say what to do, and survive a trip between processes."""

import pickle

import pytest

from llmdispatcher import AllTargetsFailed, DispatchError, RateLimitError, Response, StreamInterrupted, VendorUnavailable, errors

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DispatchError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_its_facts(kind):
    """A worker process can send any error home."""
    error = kind("it broke", vendor="openai", model="gpt-4o", status=503, retry_after=2.0, attempts=3)

    copy = pickle.loads(pickle.dumps(error))

    assert (kind, str(error), error.__dict__) == (type(copy), str(copy), copy.__dict__)


def raised(error):
    """The error, raised and caught."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.mark.parametrize("kept", [VendorUnavailable("down", vendor="a", status=503), ValueError("no"), OSError(2, "none")])
def test_an_error_that_is_kept_is_raised_as_a_copy(kept):
    """It tells the same, where it came from too; what is raised leaves no frames, facts or notes behind."""
    cause = KeyError("x")
    kept.__cause__ = cause
    raised(kept).add_note("first")
    before = kept.__traceback__
    made = raised(errors.to_raise(kept))
    made.add_note("second")

    assert (type(kept), str(kept), cause, ["first", "second"]) == (type(made), str(made), made.__cause__, made.__notes__)
    assert (True, ["first"]) == (kept.__traceback__ is before, kept.__notes__)
    assert before in [frame.tb_next for frame in frames(made)]


def frames(error):
    """Its traceback, outermost first."""
    place = error.__traceback__
    while place is not None:
        yield place
        place = place.tb_next


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_a_dispatch_error_that_names_the_target(kind):
    """One except clause catches all, and the text tells who failed."""
    assert "openai:gpt-4o: it broke" == str(kind("it broke", vendor="openai", model="gpt-4o"))


def test_the_retry_table_is_what_the_classes_say():
    """Which errors are worth the same target, and which another one."""
    table = {kind.__name__: (kind.retry_here, kind.try_elsewhere) for kind in ALL}

    assert {
        "DispatchError": (False, False),
        "InvalidRequest": (False, False),
        "ConfigError": (False, False),
        "LockfileNotFound": (False, False),
        "LockfileInvalid": (False, False),
        "AuthenticationError": (False, True),
        "RateLimitError": (True, True),
        "QuotaExceeded": (False, True),
        "BudgetExceeded": (False, False),
        "CostUnknown": (False, False),
        "ModelNotFound": (False, True),
        "ContextWindowExceeded": (False, True),
        "ContentFiltered": (False, False),
        "VendorUnavailable": (True, True),
        "DeadlineExceeded": (False, False),
        "Cancelled": (False, False),
        "CircuitOpen": (False, True),
        "Overloaded": (False, False),
        "MalformedReply": (True, True),
        "StreamInterrupted": (True, True),
        "ToolRoundsExceeded": (False, False),
        "RegistryStale": (False, False),
        "LedgerError": (False, False),
        "AllTargetsFailed": (False, False),
    } == table


def test_an_instance_can_overrule_its_class():
    """A vendor's x-should-retry header is obeyed for this one error."""
    assert not RateLimitError("slow down", retry_here=False).retry_here


def test_known_facts_stay_when_others_are_filled_in():
    """The room nearest to the failure knows best."""
    error = VendorUnavailable("refused", vendor="proxy").with_facts(vendor="openai", model="gpt-4o")

    assert ("proxy", "gpt-4o") == (error.vendor, error.model)


def test_an_unknown_fact_is_refused():
    """A typo in a fact's name does not vanish."""
    with pytest.raises(TypeError, match="'vender'"):
        DispatchError("broken", vender="openai")


def test_a_deadline_error_is_a_timeout_error():
    """Code that catches TimeoutError goes on working."""
    assert issubclass(errors.DeadlineExceeded, TimeoutError)


def test_special_errors_keep_their_cargo_when_pickled():
    """The partial answer and the list of failures come along."""
    interrupted = StreamInterrupted("cut", partial=Response(content="half"))
    failed = AllTargetsFailed("none", failures=[RateLimitError("slow")])

    assert "half" == pickle.loads(pickle.dumps(interrupted)).partial.content
    assert ["slow"] == [error.message for error in pickle.loads(pickle.dumps(failed)).failures]
