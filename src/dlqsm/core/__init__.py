"""What every step speaks: units, scan geometry, transforms, operators, solvers, method tables. Knows no step."""
