"""Widths within a layer that the nets and their analysis share. This module needs no torch."""

BOTTLENECK_WIDTH = 4
"""A bottleneck's 1x1 convolution makes this many times the growth rate (arXiv 1608.06993, section 3)."""
