"""Reports: the HTML page, its figures, terminal tables, and the study in words.

May import `records`, `data`, `config`, `tasks` and the leaves. It reads values and draws them, and trains nothing.
"""
