import os
import shutil

import pytest


@pytest.fixture(scope="session")
def tool():
    """A program that a test needs: its absence fails on the build server and skips elsewhere."""

    def find(name, package):
        path = shutil.which(name)
        if path is None:
            text = f"{name} is missing; apt-get install {package}"
            if os.environ.get("CI") == "true":
                pytest.fail(text)
            pytest.skip(text)
        return path

    return find
