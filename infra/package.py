"""`./dev package`: the wheel into dist/, the functions into .serverless/."""

from __future__ import annotations

import subprocess
import sys

from infra.functions import package as functions

if __name__ == "__main__":
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."],
        cwd=functions.ROOT,
        check=True,
    )
    functions.main()
