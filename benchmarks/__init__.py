"""Benchmarks: bookstore beside the plain thing, in one run, as ratios; ``python -m benchmarks`` runs them."""
