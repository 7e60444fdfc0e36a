"""What remains after a run: ranking.csv, structures as CIF, report.html. Projections of the database."""
