"""The campaign: configuration, state, rounds, executors, tracking and reports."""
