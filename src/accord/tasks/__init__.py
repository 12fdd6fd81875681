"""Task kinds (classification, regression): what is learned, how it is scored, and how results are put in words.

This package builds on `accord.core` and `accord.fairness`, and knows nothing of data, programs, records or reports.
They read from a `TaskKind` what a model is scored by, what is measured of groups and clients, and how it is put in
words.

To add a score, write a `Score` in the kind's module and put it into `scores` (computed after every evaluated round) or
`final_scores` (at the end). Records, tables, comparisons, sweeps and trackers follow. To add a kind, write a module
with one `TaskKind` value, put it into the table of `kinds`, and say in `kinds.kind_of_classes` which data it learns.
"""
