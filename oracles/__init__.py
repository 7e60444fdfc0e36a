"""What measures candidates: a potential, a hull, bond-valence sums, a table of answers."""
