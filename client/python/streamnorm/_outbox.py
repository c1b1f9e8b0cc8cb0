"""The client's half of the protocol of docs/durability.md, as client/outbox.h
has it: numbers the updates of a session, keeps each until it is on the server's
disk, and knows what is to be sent again. It does no I/O and never waits."""

from __future__ import annotations

import collections
from typing import Any, Deque, Dict, List, Optional, Set

from . import _messages
from ._errors import DataLoss

# How far beyond the last sequence up to which all are counted the server takes
# a number (UpdateId.sequence), and what is kept at most.
SEQUENCE_WINDOW = 1024
MAX_BUFFERED_UPDATES = 1024
MAX_BUFFERED_BYTES = 64 << 20


class Update:
    """A request that counts, on its way or kept for a replay."""

    __slots__ = ("method", "message", "name", "bytes", "sequence", "answered",
                 "abandoned")

    def __init__(self, method: str, message: Any) -> None:
        self.method = method
        self.message = message
        self.name: str = message.name
        self.bytes: int = message.ByteSize()
        self.sequence = 0
        self.answered = False   # and not refused
        self.abandoned = False  # nobody waits for its answer


class Track:
    """Numbering of one normalizer."""

    def __init__(self) -> None:
        self.next_sequence = 1
        self.generation = 0  # 0 = not known
        self.durable_sequence = 0
        self.refused: Set[int] = set()  # to be skipped


class Counted:
    """What a server counted of one normalizer's sequences."""

    def __init__(self, progress: Optional[Any]) -> None:
        self.known = progress is not None
        self.applied = progress.applied_sequence if progress else 0
        self._window = int.from_bytes(progress.window if progress else b"",
                                      "little")

    def has(self, sequence: int) -> bool:
        bit = sequence - self.applied - 1
        return bit < 0 or bool(self._window >> bit & 1)


class Outbox:
    """Not thread safe."""

    def __init__(self, opened: Any) -> None:
        """`opened`: the answer of OpenSession, or that of ResumeSession with
        the token of a Barrier."""
        self.session: bytes = opened.session
        self.epoch: int = opened.epoch
        self._history_id: bytes = opened.history_id
        self._tracks: Dict[str, Track] = {}
        self._kept: Deque[Update] = collections.deque()
        self._kept_bytes = 0
        for progress in getattr(opened, "progress", ()):
            track = self._tracks[progress.name] = Track()
            track.next_sequence = progress.token_sequence + 1
            track.generation = progress.generation
            track.durable_sequence = progress.token_sequence

    def __len__(self) -> int:
        return len(self._kept)

    def knows_generation(self, name: str) -> bool:
        """Not known: the normalizer doesn't exist, or nobody asked."""
        return name in self._tracks and self._tracks[name].generation != 0

    def learn_generation(self, name: str, generation: int) -> None:
        track = self._tracks.setdefault(name, Track())
        track.generation = max(track.generation, generation)

    def has_room(self, updates: List[Update]) -> bool:
        if self._kept and (
                len(self._kept) + len(updates) > MAX_BUFFERED_UPDATES or
                self._kept_bytes + sum(u.bytes for u in updates)
                > MAX_BUFFERED_BYTES):
            return False
        names = [u.name for u in updates]
        return all(self._in_window(name, names.count(name))
                   for name in set(names))

    def _in_window(self, name: str, updates: int) -> bool:
        """Also after a crash that took all that is kept."""
        track = self._tracks.get(name) or Track()
        last = track.next_sequence + updates - 1
        if last <= track.durable_sequence + SEQUENCE_WINDOW:
            return True
        open_ones = [track.next_sequence, *sorted(track.refused)[:1]]
        open_ones += [u.sequence for u in self._kept if u.name == name][:1]
        return last < min(open_ones) + SEQUENCE_WINDOW

    def add(self, update: Update) -> None:
        """Takes it over; it gets its number and is kept."""
        track = self._tracks.setdefault(update.name, Track())
        update.sequence = track.next_sequence
        track.next_sequence += 1
        update_id = update.message.update_id
        update_id.session = self.session
        update_id.epoch = self.epoch
        update_id.sequence = update.sequence
        update_id.generation = track.generation
        self._kept.append(update)
        self._kept_bytes += update.bytes

    def stamp(self, update: Update) -> None:
        """Each time before it is sent."""
        update.message.update_id.epoch = self.epoch

    def accepted(self, update: Update, answer: Any) -> None:
        update.answered = True
        track = self._tracks[update.name]
        track.generation = max(track.generation, answer.generation)
        if answer.durable_sequence > track.durable_sequence or \
                update.sequence <= track.durable_sequence:
            self._release(update.name, answer.durable_sequence)

    def refused(self, update: Update) -> None:
        """Not counted. No other update gets its number: a restarted job gives
        its steps the same numbers, and the next Barrier skips it."""
        track = self._tracks[update.name]
        if track.generation:
            track.refused.add(update.sequence)
        else:
            track.next_sequence = 1
        self._drop([update])

    def _drop(self, gone: List[Update]) -> None:
        dropped = set(map(id, gone))
        self._kept = collections.deque(
            u for u in self._kept if id(u) not in dropped)
        self._kept_bytes = sum(u.bytes for u in self._kept)

    def _release(self, name: str, durable: int) -> None:
        track = self._tracks.setdefault(name, Track())
        track.durable_sequence = max(track.durable_sequence, durable)
        gone = [u for u in self._kept if u.answered and u.name == name and
                u.sequence <= track.durable_sequence]
        if gone:
            self._drop(gone)

    # Barrier.

    def make_barrier(self) -> Any:
        request = _messages.BarrierRequest(session=self.session,
                                           epoch=self.epoch)
        for name, track in sorted(self._tracks.items()):
            if track.refused:
                request.skipped.add(name=name,
                                    sequences=sorted(track.refused))
            request.used.add(name=name, sequence=track.next_sequence - 1)
        return request

    def barrier_done(self, response: Any) -> None:
        for track in self._tracks.values():
            track.refused.clear()
        for progress in response.progress:
            self._release(progress.name, progress.durable_sequence)

    # After a broken connection.

    def resume(self, resumed: Any) -> List[Update]:
        """What is to be sent again and nobody waits for, in its old order.
        DataLoss if the server lost what it had promised."""
        progress = {p.name: p for p in resumed.progress}
        self._check_nothing_lost(resumed, progress)
        self.epoch = resumed.epoch
        self._history_id = resumed.history_id
        for name, of_name in progress.items():
            self._release(name, of_name.durable_sequence)
        missing = []
        for update in self._kept:
            counted = Counted(progress.get(update.name)).has(update.sequence)
            if counted and update.abandoned:
                update.answered = True
            if not counted and (update.answered or update.abandoned):
                missing.append(update)
        return missing

    def _check_nothing_lost(self, resumed: Any,
                            progress: Dict[str, Any]) -> None:
        lost = []
        for name, track in sorted(self._tracks.items()):
            counted = Counted(progress.get(name))
            if counted.applied >= track.durable_sequence:
                continue
            # Within a history only a deletion ends a normalizer's progress.
            if resumed.history_id == self._history_id and not counted.known:
                continue
            lost.append(f"{name} updates {counted.applied + 1} to "
                        f"{track.durable_sequence}")
        if lost:
            raise DataLoss(
                "the server lost what it had on disk and this client no "
                f"longer has: {', '.join(lost)}; open a new session, and send "
                "these rows again if you can", reason="HISTORY_LOST")
