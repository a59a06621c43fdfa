"""The real parts on this machine, for a developer, the tests and whoever wants to try one.

`python -m tests.servers kafka start` (or `./dev kafka start`) downloads what it takes once, starts it on 127.0.0.1
and prints its address. Everything lies under one folder, `.cache/footfall` in the checkout, or FOOTFALL_CACHE.
"""
