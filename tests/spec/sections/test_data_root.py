import pytest


@pytest.mark.parametrize(
    "root",
    ["data/x", "/data/x", "s3://photos/set", "s3://photos", "gs://b/c", "memory://b", "file:///data/x"],
)
def test_a_root_is_a_folder_or_an_address(build_spec, root):
    assert build_spec(data={"format": "image_folder", "root": root}).data.root == root


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("https://host/data", "an address with s3://"),
        ("zip://a.zip::s3://photos", "an address with s3://"),
        ("s3://a::b", "an address with s3://"),
        ("s3://", "names no folder"),
        ("file://data", "names no folder"),
        ("s3://key:secret@photos/set", "an address with a user, a password or a token"),
    ],
)
def test_what_can_not_be_listed_or_holds_a_login_is_refused(build_spec, root, words):
    with pytest.raises(ValueError, match=words):
        build_spec(data={"format": "image_folder", "root": root})


def test_an_address_has_no_links(build_spec):
    with pytest.raises(ValueError, match="an object store has no links"):
        build_spec(data={"format": "image_folder", "root": "s3://photos/set", "link_roots": ["a"]})
    assert build_spec(data={"format": "image_folder", "root": "file:///a", "link_roots": ["a"]})
