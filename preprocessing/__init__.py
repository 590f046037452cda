"""What happens to one image between its file and the net: one recipe per family of nets."""
