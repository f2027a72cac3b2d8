import json

import pytest

from transferflow.training.tracking.spool import Point, Shipped, Spool


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "tracking" / "train" / "k")
    made.begin()
    return made


def test_points_come_back_as_they_were_told(spool):
    points = [Point("step", 1, 1000, {"train_loss": 0.1 + 0.2}), Point("epoch", 0, 2000, {"a": 1e-30})]
    for point in points:
        spool.append(point)
    found, end = spool.read(0)
    assert (found, end) == (points, spool.size)
    assert spool.read(end) == ([], end)
    spool.append(points[0])
    assert spool.read(end)[0] == points[:1]


def test_a_line_that_is_being_written_is_left_for_later_and_one_that_was_cut_off_goes(spool):
    spool.append(Point("step", 1, 0, {"a": 1.0}))
    whole = spool.size
    with (spool.folder / "points.jsonl").open("ab") as stream:
        stream.write(b'{"family":"step","step":2,"ti')
    assert spool.read(0) == ([Point("step", 1, 0, {"a": 1.0})], whole)
    assert spool.begin() == {"step": {1}, "epoch": set()}
    assert spool.size == whole


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"family":"other","step":1,"time":1,"values":{}}',
        b'{"family":"step","step":-1,"time":1,"values":{}}',
        b'{"family":"step","step":1e400,"time":1,"values":{}}',
        b'{"family":"step","step":1,"time":1,"values":{"a":"x"}}',
        b'{"family":"step","step":1,"time":1,"values":[]}',
        b"x" * (3 << 20),
    ],
)
def test_a_damaged_line_costs_that_line(spool, line):
    spool.append(Point("step", 1, 0, {"a": 1.0}))
    with (spool.folder / "points.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    spool.append(Point("step", 2, 0, {"a": 1.0}))
    assert spool.begin()["step"] == {1, 2}


def test_what_is_no_number_is_left_out(spool):
    with (spool.folder / "points.jsonl").open("ab") as stream:
        stream.write(b'{"family":"step","step":1,"time":1,"values":{"a":NaN,"b":Infinity,"c":1}}\n')
    assert spool.read(0)[0] == [Point("step", 1, 1, {"c": 1.0})]


def test_a_spool_keeps_its_identity_and_two_have_two(spool, tmp_path):
    other = Spool(tmp_path / "other")
    assert other.identity == ""
    other.begin()
    before = spool.identity
    spool.begin()
    assert spool.identity == before != other.identity
    (spool.folder / "id").write_text("../x")
    assert spool.identity == ""


@pytest.mark.parametrize(
    "content", [None, "", "[]", '{"run": "r"}', '{"run": "r", "sent": "x", "doubtful": 0}']
)
def test_where_it_is_not_known_how_far_a_store_is_it_is_asked(spool, content):
    if content is not None:
        (spool.folder / "shipped-p.json").write_text(content)
    assert spool.load_shipped("p") == Shipped("", 0, doubtful=True)
    spool.save_shipped("p", Shipped("r", 7, doubtful=False))
    assert spool.load_shipped("p") == Shipped("r", 7, doubtful=False)
    assert json.loads((spool.folder / "shipped-p.json").read_text())["sent"] == 7
