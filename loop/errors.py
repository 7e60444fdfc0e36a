"""Errors a person is shown as one message without a traceback."""

from __future__ import annotations


class CampaignError(Exception):
    """The campaign cannot go on; the message says what was wrong and what to do."""


class NoWorkersError(CampaignError, RuntimeError):
    """Workers cannot be started at all, so no evaluation can be made."""
