from transferflow.data.files.fence import Fence


def test_what_leads_out_or_in_a_circle_is_not_held(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (root / "out").symlink_to(other)
    (root / "circle").symlink_to(root / "circle")
    (root / "in").symlink_to(root)
    fence = Fence(root)
    assert fence.holds(root / "a.png")
    assert fence.holds(root / "in" / "a.png")
    assert not fence.holds(root / "out" / "a.png")
    assert not fence.holds(root / "circle")
    assert not fence.holds(root / "circle" / "a.png")
    assert not fence.holds(root / ".." / "root2")
    assert Fence(root, (other,)).holds(root / "out" / "a.png")
