"""Discards what libmpg123 writes to standard error about frames that it skips: libsndfile cannot turn it off.

The file descriptor is the process's, so this is done only while a block of MP3 is decoded, and only after
`separate_stderr` gave Python's own messages another descriptor.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2  # file descriptor
_lock = threading.Lock()
_users = 0  # threads that decode
_original = -1  # duplicate of standard error while it is discarded
_is_separate = False


def separate_stderr() -> None:
    """Let Python write its messages to a duplicate of standard error, as the command line does once at its start."""
    global _is_separate
    try:
        if _is_separate or sys.stderr is None or sys.stderr.fileno() != _STDERR:
            return
        own = os.fdopen(os.dup(_STDERR), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)
    except (OSError, ValueError):  # closed, or replaced by an object without a descriptor
        return
    sys.stderr.flush()
    sys.stderr = own
    _is_separate = True


@contextmanager
def discard_decoder_messages() -> Iterator[None]:
    """Discard what C libraries write to standard error in this context; nothing is done before `separate_stderr`."""
    global _users, _original
    if not _is_separate:
        yield
        return
    with _lock:
        if _users == 0:
            _original = os.dup(_STDERR)
            with open(os.devnull, "wb") as sink:  # noqa: PTH123 - a descriptor is needed
                os.dup2(sink.fileno(), _STDERR)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                os.dup2(_original, _STDERR)
                os.close(_original)
