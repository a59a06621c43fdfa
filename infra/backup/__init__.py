"""A copy of everything that the embedded parts keep, and the way back from it.

`take` writes a backup while everything runs, `restore` makes a data folder of it. `folder` is how a backup lies on
disk, `places` where its parts belong, `proof` what both say about the warehouse, so that it can be compared.
"""
