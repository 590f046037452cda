"""All Inception nets under one name, as in `inception.inception_v1(...)`."""

from nets.inception_v1 import inception_v1, inception_v1_arg_scope, inception_v1_base

__all__ = ["inception_v1", "inception_v1_arg_scope", "inception_v1_base"]
