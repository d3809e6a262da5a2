"""A channel is a bounded queue.Queue with an end."""

import queue
import threading

import pytest

from llmdispatcher import Channel, ChannelClosed

from ..conftest import PATIENCE


def nothing():
    """A check that never gives up."""


def test_it_is_a_queue():
    """Code that knows queue.Queue can read it."""
    channel = Channel(3)
    channel.put("a")

    assert isinstance(channel, queue.Queue)
    assert ("a", 0) == (channel.get(), channel.qsize())


def test_a_closed_channel_hands_out_what_it_holds_and_then_ends():
    """Nothing that was put is lost at the end."""
    channel = Channel()
    channel.put_all(["a", "b"], nothing)
    channel.close()

    assert ["a", "b"] == [channel.get(), channel.get()]
    with pytest.raises(ChannelClosed):
        channel.get()


def test_the_end_is_an_empty_queue_to_old_code():
    """``except queue.Empty`` catches the end as well."""
    channel = Channel()
    channel.close()

    with pytest.raises(queue.Empty):
        channel.get_nowait()


@pytest.mark.parametrize("wait", [{"block": False}, {"timeout": 0.01}])
def test_an_empty_open_channel_is_empty(wait):
    """Not yet and never again are told apart."""
    with pytest.raises(queue.Empty) as caught:
        Channel().get(**wait)

    assert queue.Empty is caught.type


def test_closing_wakes_a_waiting_reader():
    """A reader that waits for ever learns of the end."""
    channel, ends = Channel(), []

    def read():
        try:
            channel.get()
        except ChannelClosed:
            ends.append("end")

    reader = threading.Thread(target=read)
    reader.start()
    channel.close()
    reader.join(PATIENCE)

    assert ["end"] == ends


def test_nothing_can_be_put_after_the_end():
    """A writer learns that nobody reads."""
    channel = Channel()
    channel.close()

    with pytest.raises(ChannelClosed):
        channel.put("late")
    with pytest.raises(ChannelClosed):
        channel.put_all(["late"], nothing)


def test_a_full_channel_holds_the_writer_back():
    """No more than its size is ever inside, and all of it arrives in order."""
    channel, seen, most = Channel(4), [], []
    writer = threading.Thread(target=lambda: (channel.put_all(list(range(100)), nothing), channel.close()))
    writer.start()
    for batch in iter(lambda: channel.take_all(()), None):
        most.append(len(batch))
        seen.extend(batch)
    writer.join(PATIENCE)

    assert list(range(100)) == seen
    assert max(most) <= 4


def test_a_waiting_writer_can_give_up():
    """The check may raise, and the writer is free within a slice."""
    channel = Channel(1)
    channel.put("full")

    def give_up():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        channel.put_all(["more"], give_up)


def test_a_full_channel_times_out_a_plain_put():
    """The inherited put keeps its promise."""
    channel = Channel(1)
    channel.put("full")

    with pytest.raises(queue.Full):
        channel.put("more", timeout=0.01)


def test_two_readers_share_without_loss():
    """Each item goes to exactly one reader."""
    channel, seen, lock = Channel(8), [], threading.Lock()

    def read():
        for batch in iter(lambda: channel.take_all(()), None):
            with lock:
                seen.extend(batch)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    channel.put_all(list(range(500)), nothing)
    channel.close()
    for reader in readers:
        reader.join(PATIENCE)

    assert list(range(500)) == sorted(seen)


def test_closing_wakes_who_waits_for_room():
    """A put that waits on a full channel hears of the end, as a get does."""
    channel, heard = Channel(1), []
    channel.put("full")

    def put():
        with pytest.raises(ChannelClosed):
            channel.put("more", timeout=2 * PATIENCE)
        heard.append("closed")

    writer = threading.Thread(target=put)
    writer.start()
    channel.close()
    writer.join(PATIENCE)

    assert (["closed"], "full", 0) == (heard, channel.get(), channel.qsize())
