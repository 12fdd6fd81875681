"""What is learned, and how well: a task kind (classification, regression) is one value that every room asks.

This room stands on `accord.core` and `accord.fairness` and knows nothing of data, programs, records or reports. They
read from a `TaskKind` what a model is scored by, what is measured of groups and clients, and how it is put in words.
"""
