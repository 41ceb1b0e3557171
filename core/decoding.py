"""Stories being written: each has its own seat, and all that wait for the device are served by one pass.

A story is read by a Seat of its network's Table where that is known to be right (BATCHED), else Alone. What a Seat computed
is kept for a while, so that a branch begins where it leaves its story instead of at the prompt.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from core import attention, limits, loading
from core.devices import is_lent
from core.models import Model, size
from core.passes import COMPILED, Next, Said, compiled, in_time, made_up, pays, rows_of, succeeds, traced
from core.results import Step, WhatIf

# Architectures whose tokens find their places by `position_ids` and a mask alone: several stories can share a pass.
BATCHED = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "smollm3", "phi3", "olmo2", "granite")

T = TypeVar("T")


class Writer(Protocol):
    """Writes a story's steps, one after the other."""

    def again(self, step: Step) -> Step:
        """Write a step that is known."""

    def write(self, said: Said) -> Step | None:
        """Write the next step; None where the text ends."""


class Alone:
    """One story read by itself, on any network and with any what-if; one without a cache of keys reads all of it each time."""

    def __init__(self, model: Model, silenced: frozenset[tuple[int, int]]):
        self._model, self._silenced = model, silenced
        self._ids, self._mask, self._cache = [], [], None

    def begin(
        self, ids: Sequence[int], mask: Sequence[int], forced: Sequence[int], writer: Writer
    ) -> list[Step | None]:
        """Read a prompt and the tokens forced after it; return the steps of these and the next one.

        mask: parallel to ids; 0 hides a token.
        """
        self._mask, self._writer = [*mask], writer
        return self._read(ids, forced, len(forced) + 1)

    def read(self, token: int) -> Step | None:
        """Read one more token and return the next step."""
        return self._read((), (token,), 1)[0]

    def leave(self, steps: Sequence[Step]) -> None:
        """End the story."""

    def _read(self, ids: Sequence[int], tokens: Sequence[int], wanted: int) -> list[Step | None]:
        self._ids += [*ids, *tokens]
        self._mask += [1] * len(tokens)
        model, cache = self._model, {} if self._cache is None else {"past_key_values": self._cache}
        inputs = model.inputs(input_ids=[*ids, *tokens] if cache else self._ids, attention_mask=self._mask)

        def look() -> list[Said]:
            with attention.watch(model.network, silenced=self._silenced):
                output = model.network(**inputs, **cache, use_cache=True)
            self._cache = getattr(output, "past_key_values", None)
            return rows_of(output.logits[0, -wanted:])

        return [self._writer.write(said) for said in model.run(look)]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a story leaves behind: its branches begin with it."""

    ids: tuple[int, ...]  # of its prompt
    steps: tuple[Step, ...]
    columns: tuple[Tensor, ...]  # of each layer keys and values, (head, token, size): of all but perhaps its last token

    @property
    def bytes(self) -> int:
        """What it takes to keep it."""
        return sum(one.nbytes for one in self.columns) + sum(step.log_probabilities.nbytes for step in self.steps)

    def shared(self, ids: Sequence[int], forced: Sequence[int]) -> int:
        """Return with how many steps another story begins that this one began with; -1 where the prompts differ."""
        if self.ids != tuple(ids):
            return -1
        pairs = zip(self.steps, forced, strict=False)
        return next(
            (at for at, (step, token) in enumerate(pairs) if step.token != token), min(len(self.steps), len(forced))
        )


class Seat:
    """One story's place at a Table."""

    def __init__(self, table: "Table", model: Model):
        self._table, self._model = table, model
        self.ids: tuple[int, ...] = ()  # of the prompt
        self.length = 0  # tokens whose keys and values are at the table, or are to be put there from what is kept
        self.kept: Kept | None = None
        self.todo: deque[int] = deque()  # tokens that wait to be read
        self.wanted = 1  # steps wanted, of the last of these
        self.steps: list[Step | None] = []  # as they are written
        self.turn: Future | None = None  # comes when there are as many as are wanted
        self.row = table.sit(self)

    def begin(
        self, ids: Sequence[int], mask: Sequence[int], forced: Sequence[int], writer: Writer
    ) -> list[Step | None]:
        """Read a prompt and the tokens forced after it; return the steps of these and the next one.

        The first of them may be kept from another story.
        """
        self.ids, self.writer = tuple(ids), writer
        kept, shared = self._table.find(ids, forced)
        left = len(forced) - shared + 1  # what was said in the place of the first token that differs is not kept
        if kept is None or not forced or left > limits.REREAD_TOKENS:
            return self._read([*ids, *forced], len(forced) + 1)
        self.kept, self.length = kept, len(ids) + shared - 1
        return [writer.again(step) for step in kept.steps[:shared]] + self._read([*ids, *forced][self.length :], left)

    def read(self, token: int) -> Step | None:
        """Read one more token and return the next step."""
        return self._read([token], 1)[0]

    def leave(self, steps: Sequence[Step]) -> None:
        """End the story and keep what it computed."""
        if steps:
            self._table.keep(Kept(self.ids, tuple(steps), self._table.columns_of(self)))
        self._table.stand_up(self)

    def _read(self, tokens: Sequence[int], wanted: int) -> list[Step | None]:
        self.steps, self.wanted, self.turn = [], wanted, Future()
        self._table.ask(self, tokens)
        return self._model.device.queue.wait(self.turn)

    def write(self, said: Sequence[Said]) -> None:
        """Write what comes next."""
        try:
            self.steps += [self.writer.write(one) for one in said]
        except Exception as error:  # it is the story's own, whoever's thread this is
            self.fail(error)

    def go_on(self) -> None:
        """Let the story go on if all that it waits for is written."""
        if len(self.steps) == self.wanted:
            with suppress(InvalidStateError):  # it gave up waiting
                self.turn.set_result(self.steps)

    def fail(self, error: BaseException) -> None:
        """Let the story end with an error."""
        self.todo.clear()
        with suppress(InvalidStateError):
            self.turn.set_exception(error)


class Table:
    """The stories that one network is writing: their keys and values side by side, one pass for all that wait."""

    def __init__(self, model: Model):
        self._network, self._device = model.network, model.device
        self._seats: list[Seat | None] = []  # by row
        self._columns: list[Tensor] = []  # of each layer keys and values, (row, head, column, size)
        self._kept: list[Kept] = []  # least recently used first
        self._last: list[Seat] = []  # those served by the last pass over single tokens
        self._lined_up = False  # for the device
        self._small = size(model) < limits.SMALL_BYTES
        self._guard = threading.RLock()
        self._asked = threading.Condition(self._guard)
        self._next = self._plain = Next(model.network)
        self._settled = model.settled  # before, there is no use in preparing it
        self._settling = model.beside.setdefault("settling", loading.settle_behind(model))
        self._packing = 0  # layers that are being settled beside the passes
        self._prepared = False  # whether that was tried
        self.compiled = False  # whether the pass is: it takes all columns as they are, and expects them where they were

    def sit(self, seat: Seat) -> int:
        """Give a story the first free row."""
        with self._guard:
            row = self._seats.index(None) if None in self._seats else len(self._seats)
            self._seats[row : row + 1] = [seat]
            return row

    def ask(self, seat: Seat, tokens: Sequence[int]) -> None:
        """Put down the tokens that a story waits for to be read."""
        with self._asked:
            seat.todo.extend(tokens)
            self._asked.notify_all()
            if not self._lined_up:
                self._lined_up = True
                self._device.queue.submit(self._serve, small=True)

    def stand_up(self, seat: Seat) -> None:
        """Free the row of a story."""
        with self._asked:
            self._seats[seat.row] = None
            self._asked.notify_all()
            while self._seats and self._seats[-1] is None:
                self._seats.pop()
            if not self._seats and not self.compiled:
                self._columns = []
            first = self._settled.is_set() and not self._prepared
            self._prepared = self._prepared or first
        if first:  # after the first story, and not before it: nobody waits for this
            self.prepare()

    def find(self, ids: Sequence[int], forced: Sequence[int]) -> tuple[Kept | None, int]:
        """Return the kept story that shares most of its steps with a new one, and how many; None where the prompt is new."""
        with self._guard:
            best = max(self._kept, key=lambda kept: kept.shared(ids, forced), default=None)
            shared = -1 if best is None else best.shared(ids, forced)
            if shared < 0:
                return None, 0
            self._kept.remove(best)
            self._kept.append(best)
            return best, shared

    def keep(self, kept: Kept) -> None:
        """Keep a story, in the place of those it goes on from; the least recently used go when there are many."""
        tokens = [step.token for step in kept.steps]
        with self._guard:
            self._kept = [one for one in self._kept if one.shared(kept.ids, tokens) < len(one.steps)] + [kept]
            while len(self._kept) > 1 and sum(one.bytes for one in self._kept) > limits.STORY_BYTES:
                self._kept.pop(0)

    @torch.inference_mode()
    def _serve(self) -> None:
        """Read a token of each story that waits in one pass, and the prompts of those that begin in another."""
        self._await()
        with self._asked:
            begun, tokens, beginning = self._begun(), 0, []
            for seat in self._beginning():
                tokens += len(seat.todo)
                if seat.todo and (not beginning or tokens <= limits.PASS_TOKENS):
                    beginning.append(seat)
            self._last = begun
        try:
            if begun:
                self._read_next(begun)
            if beginning:
                self._work(partial(self._read_prompts, beginning))
        except Exception as error:  # it is that of all who were to be served, not of the device's thread
            for seat in [*begun, *beginning]:
                seat.fail(error)
        for seat in [*begun, *beginning]:  # not before: those who wake fight for the interpreter
            seat.go_on()
        with self._asked:  # some did not fit in, or wait for more than one token
            self._lined_up = any(seat is not None and seat.todo for seat in self._seats)
            if self._lined_up:
                self._device.queue.submit(self._serve, small=True)
        if begun and not self._settled.is_set():  # a first story grows faster as it goes; its first token does not wait
            self._packing = self._work(partial(next, self._settling, 0))

    def _await(self) -> None:
        """Let stories come along that are about to ask: those of the last pass, and those that begin at the same moment.

        The pause is too short to be felt. Who is not back in time is not waited for again.
        """
        with self._asked:
            if any(not seat.length and seat.todo for seat in self._beginning()):
                self._asked.wait(0.001)  # they may not even sit yet
                self._asked.wait_for(lambda: all(seat.todo for seat in self._beginning()), limits.PROMPT_PAUSE)
            else:
                self._asked.wait_for(self._all_wait, limits.NEXT_PAUSE)

    def _all_wait(self) -> bool:
        """Whether all stories of the last pass wait again, but for those that are over."""
        return all(seat.todo for seat in self._last if seat in self._seats)

    def _begun(self) -> list[Seat]:
        """Return the stories that wait for a token, by row."""
        return [seat for seat in self._seats if seat is not None and seat.todo and seat.length]

    def _beginning(self) -> list[Seat]:
        """Return the stories that have not read their prompt."""
        return [seat for seat in self._seats if seat is not None and not seat.length]

    def _read_next(self, waiting: Sequence[Seat]) -> None:
        """Read one token of each story in one pass over the rows from the first to the last of them."""
        for seat in waiting:
            self._make_room(seat.length + 1, () if seat.kept is None else seat.kept.columns)
            if seat.kept is not None:
                self._restore(seat)
        low, high = (0, len(self._columns[0])) if self.compiled else (waiting[0].row, waiting[-1].row + 1)
        ids, slots = [0] * (high - low), [0] * (high - low)
        for seat in waiting:
            ids[seat.row - low], slots[seat.row - low] = seat.todo[0], seat.length + 1
        used = max(slots) + 1
        columns = self._columns if self.compiled else [column[low:high, :, :used] for column in self._columns]
        inputs = [torch.tensor(one, device=columns[0].device) for one in (ids, slots)]
        found, offsets = self._work(partial(self._next, *inputs, *columns))
        found, offsets = found.cpu().numpy(), offsets[:, 0].tolist()
        for seat in waiting:
            seat.length += 1
            seat.todo.popleft()
            seat.write([Said(found[seat.row - low], offsets[seat.row - low])])

    def _work(self, read: Callable[[], T]) -> T:
        """Run a pass: one of a small network is not worth sharing out among helpers, and what packs needs a processor."""
        return read() if self._small or self._packing else self._device.queue.widely(read)

    def _read_prompts(self, waiting: Sequence[Seat]) -> None:
        """Read whole prompts in one pass, one behind the other; none sees another."""
        lengths = [len(seat.todo) for seat in waiting]
        story = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))  # (token)
        place = torch.cat([torch.arange(length) for length in lengths])
        mask = (story[:, None] == story) & (place[:, None] >= place)
        ends = np.cumsum(lengths)
        wanted = [range(end - seat.wanted, end) for seat, end in zip(waiting, ends, strict=True)]
        ids = torch.tensor([token for seat in waiting for token in seat.todo])
        device = self._network.device
        cache = DynamicCache(config=self._network.config)
        output = self._network(
            input_ids=ids[None].to(device),
            position_ids=place[None].to(device),
            attention_mask=mask[None, None].to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor([at for one in wanted for at in one], device=device),
        )
        rows = deque(rows_of(output.logits[0]))
        found = [part[0] for layer in cache.layers for part in (layer.keys, layer.values)]
        self._make_room(max(lengths), found)
        for seat, end, length in zip(waiting, ends, lengths, strict=True):
            for column, part in zip(self._columns, found, strict=True):  # (head, token, size)
                column[seat.row, :, 1 : 1 + length] = part[:, end - length : end]
            seat.length = length
            seat.todo.clear()
            seat.write([rows.popleft() for _ in range(seat.wanted)])

    def _make_room(self, tokens: int, like: Sequence[Tensor]) -> None:
        """Make the columns hold all rows and so many tokens. like: of each layer keys and values, (head, token, size)."""
        with self._guard:
            rows, width = len(self._seats), rounded(tokens + 1)
            rows = max(2, 1 << (rows - 1).bit_length()) if self.compiled else rows  # numbers that change seldom
            if self._columns:
                rows, width = max(rows, len(self._columns[0])), max(width, self._columns[0].shape[2])
                if (rows, width) == self._columns[0].shape[::2]:
                    return
            old = self._columns
            self._columns = [one.new_zeros(rows, one.shape[-3], width, one.shape[-1]) for one in old or like]
            for new, before in zip(self._columns, old, strict=False):
                new[: before.shape[0], :, : before.shape[2]] = before

    def _restore(self, seat: Seat) -> None:
        """Put what is kept of another story in a story's row, as far as the two are the same."""
        for column, part in zip(self._columns, seat.kept.columns, strict=True):
            column[seat.row, :, 1 : 1 + seat.length] = part[:, : seat.length]
        seat.kept = None

    @torch.inference_mode()
    def columns_of(self, seat: Seat) -> tuple[Tensor, ...]:
        """Return a copy of a story's keys and values, (head, token, size)."""
        with self._guard:
            return tuple(column[seat.row, :, 1 : 1 + seat.length].clone() for column in self._columns)

    def prepare(self) -> Future:
        """Line up to make the pass over single tokens faster: on a processor at once, on a card behind the page."""
        self._prepared = True
        return self._device.queue.submit(self._quicken, small=True)

    def _quicken(self) -> None:
        kind = self._network.device.type
        if self._next is not self._plain:
            return
        if kind == "cpu":
            self._next = traced(self._plain)
        elif kind in COMPILED and not is_lent():
            succeeds(partial(self._compile, COMPILED[kind]))

    def _compile(self, how: dict) -> threading.Thread:
        """Have the pass compiled in a thread of its own, and lined up to be taken. how: see `compiled`."""
        made, inputs = compiled(self._plain, **how), made_up(self._network, 2, limits.COLUMNS)

        def compile_it() -> None:
            if succeeds(partial(in_time, made, inputs)):
                self._device.queue.submit(partial(self._take, made), small=True)

        thread = threading.Thread(target=compile_it, name="compiling", daemon=True)
        thread.start()
        return thread

    def _take(self, made: Callable) -> None:
        """Take a compiled pass where it pays."""
        self.compiled = self._work(partial(succeeds, partial(pays, made, self._plain)))
        self._next = made if self.compiled else self._plain


def rounded(columns: int) -> int:
    """Return a number of columns that changes seldom."""
    return -(-columns // limits.COLUMNS) * limits.COLUMNS


def shares_passes(network: PreTrainedModel) -> bool:
    """Whether several stories of a network can be read in one pass: it is known to, and every layer looks at all tokens."""
    known = network.config.model_type in BATCHED and network.config._attn_implementation == attention.NAME
    return known and all(type(layer) is DynamicLayer for layer in DynamicCache(config=network.config).layers)


def table_of(model: Model) -> Table:
    """Return the table at which a model's stories sit."""
    return model.beside.setdefault("table", Table(model))


def open_story(model: Model, what_if: WhatIf) -> Seat | Alone:
    """Return what reads a story."""
    if what_if.hidden_tokens or what_if.silenced_heads or not shares_passes(model.network):
        return Alone(model, what_if.silenced_heads)
    return Seat(table_of(model), model)


def warm_up(model: Model) -> None:
    """Prepare what makes a model's stories fast, before the first one."""
    if shares_passes(model.network):
        model.device.queue.wait(table_of(model).prepare())
