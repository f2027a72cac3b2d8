from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferflow.text import (
    counted,
    describe_seconds,
    four_digits,
    holds_secret,
    one_line,
    printable,
    to_csv,
    without_secrets,
)

SECRETS = {
    "https://me:hunter2@host/a.pth": "https://***@host/a.pth",
    "https://token@host:8443/a@b?x=1": "https://***@host:8443/a@b?x=1",
    "https://me:p@ss@host/": "https://***@host/",
    "postgresql+psycopg2://me:hunt/er?2#@db:5432/mlflow": "postgresql+psycopg2://***@db:5432/mlflow",
    "s3://KEY:SECRET@bucket/a.pth": "s3://***@bucket/a.pth",
    "https://h/a?X-Amz-Signature=0f&x=1": "https://h/a?X-Amz-Signature=***&x=1",
    "https://h/a?sv=2020&sig=0f%3D": "https://h/a?sv=2020&sig=***",
    "https://h/a?access_token=0f#part": "https://h/a?access_token=***#part",
    "https://h/a?AWSAccessKeyId=AK&Expires=1": "https://h/a?AWSAccessKeyId=***&Expires=1",
    "a://b:c@d,e://f:g@h": "a://***@d,e://***@h",
}
HARMLESS = (
    "https://host:8080/models@v2/a.pth",
    "https://host/a.pth?download=true",
    "gs://bucket/a@1.2/b",
    "tcp://10.0.0.7:8786",
    "git@host:me/repository",
    "me@example.org",
    "C:\\data\\a@b",
    "",
)


@pytest.mark.parametrize("address", SECRETS)
def test_credentials_are_blanked_alone_and_inside_other_text(address):
    shown = SECRETS[address]
    assert without_secrets(address) == shown
    assert without_secrets(shown) == shown
    assert without_secrets(f"no answer from '{address}' (404)") == f"no answer from '{shown}' (404)"
    assert holds_secret(address)
    assert not holds_secret(shown)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_credential_stays(text):
    assert without_secrets(text) == text
    assert not holds_secret(text)


def test_a_cut_never_leaves_half_a_password():
    for limit in range(1, 60):
        assert "hunter" not in one_line(f"x https://me:{'hunter2' * 20}@host/a", limit)


@pytest.mark.parametrize("piece", ["://a:", "a://b@", "?a", "?token", "&x=", "://", "@"])
def test_long_text_costs_what_its_length_says(piece):
    start = time.process_time()
    without_secrets(piece * (1_000_000 // len(piece)) + "=@")
    assert time.process_time() - start < 10  # a quadratic search takes hours


@given(st.text())
def test_nothing_steers_a_terminal(text):
    assert all(part.isprintable() or part.isspace() for part in printable(text))
    assert not set(printable(text)) & set("\x1b\x07\x08\r\x9b\u202e\u2028")
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert "\t" not in line
    assert printable(printable(text)) == printable(text)


def test_ordinary_text_stays():
    for text in ("Zürich, 東京, قطة, ½ µm “x” …", "a\tb\nc", "🐈"):
        assert printable(text) == text
    assert printable("\x1b[2Jred\u202e") == "\\x1b[2Jred\\u202e"
    assert one_line("a\nb\tc") == "a\\nb\\tc"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\uff1d"])
def test_a_formula_becomes_text_and_a_number_stays_a_number(start):
    text = to_csv(("image", f"{start}x"), [(f"{start}cmd|' /C calc'!A0", -1.5), ("-1.5e-3", -2)])
    (_, header), (cell, number), (word, whole) = csv.reader(io.StringIO(text))
    assert header == f"'{start}x"
    assert cell == f"'{start}cmd|' /C calc'!A0"
    assert (number, word, whole) == ("-1.5", "-1.5e-3", "-2")


def test_a_csv_has_a_line_per_row_and_no_control_characters():
    text = to_csv(("a", "b"), [("one\ntwo\r\x1b[2J", None), ('say "x", y', 3)])
    assert text.splitlines() == ["a,b", "one\\ntwo\\r\\x1b[2J,", '"say ""x"", y",3']


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.97123456, "0.9712"),
        (0.0, "0.0000"),
        (-0.25, "-0.2500"),
        (1234.5, "1234.5000"),
        (0.0000123456, "1.235e-05"),
    ],
)
def test_a_measured_value_keeps_its_digits_in_any_unit(value, shown):
    assert four_digits(value) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7260, "2 h 01 min")],
)
def test_a_time_span_in_words(seconds, words):
    assert describe_seconds(seconds) == words


def test_what_is_counted_agrees_with_the_number():
    assert counted(1, "error") == "1 error"
    assert [counted(n, "box is", "boxes are") for n in (0, 1, 2000)] == [
        "0 boxes are",
        "1 box is",
        "2,000 boxes are",
    ]
