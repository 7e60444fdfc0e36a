"""What a campaign measured, in the formats of others."""
