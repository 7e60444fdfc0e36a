"""Measuring without a campaign: `plan` is what to do, `rows` what to measure, `course` does it, the rest tells."""
