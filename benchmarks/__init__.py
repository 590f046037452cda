"""Side-by-side measurements: `python -m benchmarks` from the checkout."""
