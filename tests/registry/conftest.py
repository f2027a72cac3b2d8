import pytest


@pytest.fixture(scope="module")
def make_shared_entry(tmp_path_factory, entry_in):
    """The same for homes that several tests share."""
    folder = tmp_path_factory.mktemp("entry")

    def make(key="e" * 64, model="chest-xray", **changes):
        return entry_in(folder, key, model, changes)

    return make
