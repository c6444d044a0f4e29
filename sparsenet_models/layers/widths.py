"""Merges, and widths within a layer, that the nets and their analysis share. This module needs no torch."""

MERGES = ("concat", "sum")
"""How a layer makes one tensor of the outputs that it reads: side by side in channels, or added up."""

BOTTLENECK_WIDTH = 4
"""A bottleneck's 1x1 convolution makes this many times the growth rate (arXiv 1608.06993, section 3)."""
