"""The published crash-and-fuzz campaign: `python -m tests.slow.campaign` from the checkout."""
