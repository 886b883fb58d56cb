"""What every step speaks: units, scan geometry, transforms, solvers, method tables. Knows no step."""
