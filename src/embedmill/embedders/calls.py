"""Calls of a compiled model that are not trusted: what a failed call leaves behind never counts as a vector.

Seen in OpenVINO 2026.4 (docs/openvino-swallowed-error.md has a minimal example): with one stream and one thread
`InferRequest.infer` returns as if nothing had happened where the call has failed, and the output tensor still holds an
earlier batch; and a compiled model that once failed for want of memory may fail at other shapes for ever, though
memory is there again. So calls are made by `start_async` and `wait`, which raise; the output is overwritten after each
call, so that one that did nothing is seen whatever it says; and a compiled model that has failed is not used again.
"""

from __future__ import annotations

import concurrent.futures.thread  # has a lock of its own at forks, which has to be taken after ours: see below
import ctypes
import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.errors import ModelError, ModelUnusable
from embedmill.core.vectors import Vectors

if TYPE_CHECKING:
    import openvino as ov

log = logging.getLogger("embedmill")

Arrays = Sequence[NDArray[Any]]
"""A call's inputs: ids and mask, each ``(texts, tokens)``."""

_UNTOUCHED: Final = np.uint32(0x7FC0DEAD)
"""A NaN that no computation gives: what an output holds that no call has written."""

_MEMORY: Final = re.compile("alloc|memory", re.IGNORECASE)
"""How OpenVINO, oneDNN and C++ say that memory is short."""


@dataclass(eq=False, slots=True)
class _Model:
    """A compiled model, as its requests."""

    idle: list[ov.InferRequest]
    failed: bool = False


@dataclass(eq=False, slots=True, weakref_slot=True)
class Calls:
    """Calls of one model from several threads, at most `concurrency` at once.

    `compile` makes the model; it is made anew after a call that failed, and in a process that was forked.
    """

    name: str  # of the model, for people
    compile: Callable[[], ov.CompiledModel]
    concurrency: int
    failures: int = 0
    """Calls that have failed so far."""
    _model: _Model | None = None
    _lent: int = 0  # requests that are in use, those of models that have been given up too
    _succeeded: bool = False
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _still: bool = False  # while this process is forked: no call begins

    def __post_init__(self) -> None:
        _ALL.add(self)

    @property
    def loaded(self) -> bool:
        """Whether the model is compiled and in memory."""
        return self._model is not None

    def load(self) -> None:
        """Compile the model, if that has not been done."""
        with self._turn:
            self._there()

    def close(self) -> None:
        """Give the model's memory back; a later call loads it again."""
        with self._turn:
            self._model = None

    def __call__(self, arrays: Arrays) -> Vectors:
        """The vectors, ``(texts, dimension)``, of one call.

        A call that fails is made once more with the model compiled anew. Raises `RuntimeError` where that fails too,
        and `ModelUnusable` where that is no fault of the texts. Where memory is short nothing is tried again:
        OpenVINO may take the whole process with it then.
        """
        vectors = self._tried(arrays)
        if isinstance(vectors, str):
            self._check_memory(vectors)
            level = logging.WARNING if self.failures == 1 else logging.INFO
            log.log(level, "%s: a call of the model failed (%s): it is loaded anew, and tried", self.name, vectors)
            vectors = self._tried(arrays)
        if not isinstance(vectors, str):
            return vectors
        self._check_memory(vectors)
        shortest = [array[:1, :2].copy() for array in arrays]  # one text, as short as the arrays' shape allows
        if not self._succeeded and isinstance(self._tried(shortest), str):
            raise ModelUnusable(f"{self.name}: the model fails on whatever text ({vectors}): take another --model")
        raise RuntimeError(f"OpenVINO failed: {vectors}")

    def _check_memory(self, failure: str) -> None:
        if _MEMORY.search(failure):
            raise ModelUnusable(
                f"{self.name}: memory is too short to embed ({failure}): free some or raise the limit, then run again"
            )

    def _tried(self, arrays: Arrays) -> Vectors | str:
        """The vectors, or why there are none."""
        while True:
            model, request = self._take()
            failed = True
            try:
                vectors = _vectors(request, arrays)
                failed = False
            except Exception as error:
                self.failures += 1
                return one_line(error)
            finally:
                self._give(model, request, failed=failed)
                del request  # a model that was given up lives as long as its requests
            if not model.failed:  # else another call has failed meanwhile: these numbers are not trusted either
                self._succeeded = True
                return vectors

    def hold(self, seconds: float) -> bool:
        """Begin no call and no loading until `go_on`; waits for those in flight, for at most so long.

        False where the model is still being loaded then, and nothing is held.
        """
        if not self._turn.acquire(timeout=seconds):
            return False
        self._still = True
        self._turn.wait_for(lambda: not self._lent, seconds)
        return True

    def go_on(self) -> None:
        """Let calls begin again."""
        self._still = False
        self._turn.notify_all()
        self._turn.release()

    def begin_anew(self) -> None:
        """In a process that was forked: load the model at the next call, as if there had been none."""
        if self._model is not None:
            # Its threads are not here: even to end them would wait for ever, or abort. So nothing ever does.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._model))
        self._model, self._lent, self._turn, self._still = None, 0, threading.Condition(), False

    def _take(self) -> tuple[_Model, ov.InferRequest]:
        with self._turn:
            while self._still or not (model := self._there()).idle:
                self._turn.wait()
            self._lent += 1
            return model, model.idle.pop()

    def _give(self, model: _Model, request: ov.InferRequest, *, failed: bool) -> None:
        with self._turn:
            self._lent -= 1
            if failed:
                model.failed = True
                model.idle.clear()
                if self._model is model:
                    self._model = None
            elif not model.failed:
                model.idle.append(request)
            self._turn.notify_all()

    def _there(self) -> _Model:
        """The model, compiled now where it is not there. The lock is held."""
        while self._model is None:
            if self._lent:  # first the old one's memory is given back
                self._turn.wait()
                continue
            try:
                compiled = self.compile()
                self._model = _Model([compiled.create_infer_request() for _ in range(self.concurrency)])
            except Exception as error:
                if not self.failures:
                    raise
                reason = str(error) if isinstance(error, ModelError) else f"{self.name}: {one_line(error)}"
                raise ModelUnusable(
                    f"{reason}; the model had failed and could not be loaded anew: free some memory, then run again"
                ) from error
        return self._model


_ALL: Final[weakref.WeakSet[Calls]] = weakref.WeakSet()
_STILL: Final[list[Calls]] = []  # while a process is forked: those that no call is in the midst of
_CALLS_END_WITHIN: Final = 10.0  # seconds that a fork waits for calls in flight


def _before_fork() -> None:
    """Let no call, and no loading, be in its midst: what it holds would be held for ever in the new process."""
    end = time.monotonic() + _CALLS_END_WITHIN
    _STILL.extend(calls for calls in list(_ALL) if calls.hold(max(end - time.monotonic(), 0)))


def _after_fork() -> None:
    while _STILL:
        _STILL.pop().go_on()


def _in_the_child() -> None:
    _STILL.clear()
    for calls in list(_ALL):
        calls.begin_anew()


# What is registered last is called first before a fork. Were the lock of concurrent.futures taken before, a model that
# is just being loaded would wait for it, and the fork for the model.
assert concurrent.futures.thread
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_the_child)


def _vectors(request: ov.InferRequest, arrays: Arrays) -> Vectors:
    # Shared, the arrays are read in place. Not shared, OpenVINO 2026.4 corrupts the heap when shapes vary.
    request.start_async(arrays, share_inputs=True)
    request.wait()
    output = request.get_output_tensor(0).data
    vectors = np.array(output)
    if output.dtype == np.float32:
        if (vectors.view(np.uint32) == _UNTOUCHED).any():
            raise RuntimeError("the call has written no vectors, or not all of them")
        output.view(np.uint32)[...] = _UNTOUCHED
    return vectors


def one_line(error: BaseException) -> str:
    """What OpenVINO, or the system, says is wrong, without the places in its sources."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
