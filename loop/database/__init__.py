"""The state of campaigns: one SQL database from which everything else can be made again."""
