"""Telling a lack of memory from other errors."""

from __future__ import annotations

import errno

# CUDA, torch's allocator on processors, and the neighbour lists of torch-sim (Warp), in lower case.
TELLTALES = ("out of memory", "can't allocate memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of the GPU, ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(telltale in text for telltale in TELLTALES)
    )
