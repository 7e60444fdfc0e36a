"""The lab as an oracle: a robot or a person that makes and measures, and must never be asked twice by accident."""
