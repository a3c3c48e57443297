"""The processor's peak of matrix products, as OpenVINO reaches it: the most that a model could get.

Chains of products of square matrices run in as many streams as there are threads, and two calls a stream, as the
embedder does it.
"""

from __future__ import annotations

import json
import time

import numpy as np
import openvino as ov
from openvino import opset15 as op
from results import options

_PRODUCTS = 16  # in a call: its overhead is then far below one per cent
_SECONDS = 0.5  # of one measurement


class Peak:
    """A compiled chain of products, to be measured whenever wanted."""

    def __init__(self, precision: str, threads: int, size: int = 1024) -> None:
        chance = np.random.default_rng(1)
        first = op.parameter([size, size], ov.Type.f32)
        last = first
        for _ in range(_PRODUCTS):
            factor = chance.standard_normal((size, size), np.float32) / np.float32(size**0.5)
            last = op.matmul(last, op.constant(factor), False, False)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        # Only one number goes out: a whole matrix would be converted to float32.
        model = ov.Model([op.result(op.reduce_max(last, op.constant(np.array([0, 1]))))], [first])
        compiled = ov.Core().compile_model(model, "CPU", settings)
        self._queue = ov.AsyncInferQueue(compiled, 2 * threads)
        self._operations = 2 * size**3 * _PRODUCTS  # of a call: one product and one sum for each pair
        data = chance.standard_normal((size, size), np.float32)
        for request in self._queue:
            request.set_input_tensor(ov.Tensor(data))
        self.measure()  # what comes first is slower: buffers, caches, the clock

    def measure(self, times: int = 3) -> float:
        """GFLOP/s, the best of so many measurements: whatever else runs can only lower it."""
        return max(self._once() for _ in range(times)) / 1e9

    def _once(self) -> float:
        calls = 0
        started = time.perf_counter()
        while time.perf_counter() - started < _SECONDS:
            for _ in range(2 * len(self._queue)):
                self._queue.start_async()
                calls += 1
        self._queue.wait_all()
        return calls * self._operations / (time.perf_counter() - started)


def main() -> None:
    arguments = options(__doc__ or "", rounds=3).parse_args()
    for precision in ("bf16", "f32"):
        for size in (384, 768, 1024, 1536, 2048):
            figure = Peak(precision, arguments.threads, size).measure(arguments.rounds)
            print(json.dumps({"precision": precision, "size": size, "GFLOP/s": round(figure, 1)}))


if __name__ == "__main__":
    main()
