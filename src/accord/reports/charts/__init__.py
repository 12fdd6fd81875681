"""Figures: axes, colours, curves by round, dots by group, small multiples."""
