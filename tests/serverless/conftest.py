from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serverless import function


@pytest.fixture(scope="session")
def template(package: Path) -> dict[str, Any]:
    """The CloudFormation resources that the package was made for."""
    return function.template(package)


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, unpacked into an empty folder."""
    return function.unpack(package, tmp_path_factory.mktemp("task"))
