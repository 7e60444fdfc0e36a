"""Density-functional theory by any program: ground states, band gaps, relaxations and optics."""
