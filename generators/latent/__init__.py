"""Crystals from a continuous space."""
