import pytest

from yannctl.assurance import design


@pytest.fixture(scope="session")
def designs():
    """Designs and certificates by name, each computed once."""
    made = {}

    def get(name):
        if name not in made:
            chosen = design(name)
            made[name] = chosen, chosen.certify()
        return made[name]

    return get
