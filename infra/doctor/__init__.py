"""What is wrong with an installation, and what to do: the checks of `footfall doctor`.

A check looks and says what it found; it changes nothing. Those that wait for the same part (the broker, the warehouse)
are a group with a thread and connections of its own, so that a part that does not answer hides nothing of the others.
"""
