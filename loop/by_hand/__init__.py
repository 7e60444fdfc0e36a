"""The campaign for people without a robot: what to make next, and what came of it."""
