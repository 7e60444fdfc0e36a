"""The service through which robots and people reach a campaign's lab queue over HTTP."""
