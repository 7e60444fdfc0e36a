"""Cheap models of expensive properties."""
