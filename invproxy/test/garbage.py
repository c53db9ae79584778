"""
What only the garbage collector frees. It comes seldom in a program that has much, as it counts objects and not bytes:
so what is made for each connection or exchange should be gone with it.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """
    Find out what is left to the collector by what is done in this context.

    @return: at the end, how many there are of each of our classes, tests' aside.
    """
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = (type(each) for each in gc.garbage)
        found.update(
            f"{kind.__module__}.{kind.__qualname__}"
            for kind in kinds
            if kind.__module__.startswith("invproxy.")
            and not kind.__module__.startswith("invproxy.test")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
