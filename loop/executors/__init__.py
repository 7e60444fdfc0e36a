"""Where oracles run: `base` is the contract, `serial` and `local` fulfil it, `tasks` is what a task does."""
