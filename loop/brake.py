"""The brake: stops a campaign in which too much fails, with the reasons."""

from __future__ import annotations

from collections import Counter

from loop.config import LimitSettings
from materials.archive import Archive

FEWEST_TO_JUDGE = 6
CERTAINTY = 0.95


def brake_reason(archive: Archive, limits: LimitSettings) -> str | None:
    """Why the campaign has to stop, or None.

    It stops when the share of failures among all candidates like these lies above `limits.failure_share` with 95 %
    probability, given those that ended (uniform prior, so the posterior is Beta(1 + failed, 1 + ended - failed)): a
    small unlucky batch is no reason. Judged between rounds, so that a resumed run brakes at the same place.
    """
    from scipy.stats import beta

    failed = archive.failed
    ended = len(failed) + sum(not r.known_before for r in archive.evaluated)
    if ended < FEWEST_TO_JUDGE:
        return None
    if beta.sf(limits.failure_share, 1 + len(failed), 1 + ended - len(failed)) < CERTAINTY:
        return None
    kinds = Counter(str(r.failure.kind) for r in failed if r.failure is not None)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    example = next((r.failure.message for r in failed if r.failure is not None), "")
    return (
        f"{len(failed)} of {ended} candidates failed, more than limits.failure_share = {limits.failure_share:g} allows "
        f"({told}). For example {example}. Mend the cause, or raise the limit, and run the same command again."
    )
