"""The brake: stops a campaign in which too much fails, with the reasons."""

from __future__ import annotations

from collections import Counter

from loop.config import LimitSettings
from materials.archive import Archive

FEWEST_TO_JUDGE = 6
"""Below this many ended candidates a share says nothing."""


def brake_reason(archive: Archive, limits: LimitSettings, batch: int) -> str | None:
    """Why the campaign has to stop, or None. Judged between rounds, so a resumed run brakes at the same place."""
    failed = archive.failed
    ended = len(failed) + sum(not r.known_before for r in archive.evaluated)
    if ended < max(FEWEST_TO_JUDGE, batch) or len(failed) / ended <= limits.failure_share:
        return None
    kinds = Counter(str(r.failure.kind) for r in failed if r.failure is not None)
    example = next((r for r in failed if r.failure is not None), None)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    last = (
        ""
        if example is None or example.failure is None
        else (f" For example {example.candidate.formula}: {example.failure.message}")
    )
    return (
        f"{len(failed)} of {ended} candidates failed, more than limits.failure_share = {limits.failure_share:g} "
        f"allows ({told}).{last} Mend the cause, or raise the limit, and run the same command again."
    )
