"""The records that a run leaves behind, written so that neither a kill nor a full disk loses earlier ones.

`round_record` and `result` define the values, `store` the append-only and atomic files, `checkpoints` the tensors,
and `trackers` the live views. Nothing is pickled.

May import `config`, `tasks` and the leaves.
"""
