"""How easily ions move: bond-valence site energies, nudged elastic bands, molecular dynamics."""
