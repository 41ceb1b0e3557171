"""Who listens to a stream. One that nobody reads waits for a while, and then ends: no work, and no memory, for nobody.

Gradio closes a stream when its reader goes; one whose reader never came, or stopped reading, it would run to its end.
"""

import time
from collections.abc import Iterator
from contextlib import closing

from gradio.context import LocalContext

from core import limits


def while_heard(parts: Iterator) -> Iterator:
    """Hand on the parts of a stream as long as somebody reads them, and no faster."""
    before, heard = 0, 0.0  # parts that waited to be read; when one of them last was
    with closing(parts):
        for part in parts:
            heard = heard if before else time.monotonic()
            yield part
            before += 1
            while True:
                now = unread()
                if now is None:
                    return
                heard = time.monotonic() if now < before else heard
                if time.monotonic() - heard > limits.UNHEARD_SECONDS:
                    return
                before = now
                if now < limits.UNREAD_PARTS:
                    break
                time.sleep(0.01)


def unread() -> int | None:
    """Return how many parts of what is being sent wait to be read, of this page or call; None once its reader has gone."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or number is None:
        return 0  # not called through a queue, as in a test
    queue = blocks._queue  # Gradio tells nobody else
    event = queue.event_ids_to_events.get(number)
    if event is None or not event.alive or event.session_hash not in queue.pending_messages_per_session:
        return None
    return queue.pending_messages_per_session[event.session_hash].qsize()
