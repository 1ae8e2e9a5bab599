"""How well a head works on another encoder's mapped embeddings (paper, Tables 1, 2 and 6), and what maps are worth.

For every ordered pair of encoders and every task: the map fitted on the task's own training texts, on public texts, and
on public texts with a few of the task's; the provider's and the client's own heads beside it; other kinds of map; and
one row under encryption.
"""
