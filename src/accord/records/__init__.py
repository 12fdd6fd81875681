"""What a run leaves behind, written so that neither a kill nor a full disk costs what came before.

`round_record` and `result` hold the values, `store` the append-only and atomic files, `checkpoints` the tensors,
`trackers` the live views. Nothing is pickled.

May import `config`, `tasks` and the leaves.
"""
