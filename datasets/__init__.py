"""Datasets on disk: what they are, how they are written, and where they come from."""

from datasets.spec import load

__all__ = ["load"]
