"""Heads: pretrained models of a property on the union descriptor, which know how sure they are."""
