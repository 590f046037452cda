"""What is measured: one module per contestant, each run as a process of its own."""
