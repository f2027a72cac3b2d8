from __future__ import annotations

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from transferflow.errors import DownloadError, WeightsError
from transferflow.models.weights import files
from transferflow.models.weights.files import HubFile, Url, WeightFile, fetch_weights, missing_error

FILE = WeightFile("timm", "x", "tag", HubFile("owner/nothing-of-this-name", ("a.safetensors", "a.bin")))


def test_a_hub_that_is_not_reached_is_asked_once_and_says_why(monkeypatch):
    asked = []

    def unreachable(repository, name):
        asked.append(name)
        raise LocalEntryNotFoundError("cannot find the requested files") from ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(WeightsError, match="found: no route") as caught:
        fetch_weights(FILE)
    assert "`hf download owner/nothing-of-this-name`" in caught.value.problems[0].hint
    assert asked == ["a.safetensors"]


def test_a_name_that_the_hub_has_not_leads_to_the_next(monkeypatch, tmp_path):
    def second(repository, name):
        if name == "a.safetensors":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", second)
    assert fetch_weights(FILE) == tmp_path / "a.bin"


def test_without_a_network_the_other_ways_are_named(tmp_path, monkeypatch):
    def unreachable(url, target, **options):
        raise DownloadError("the weights could not be downloaded", where=url, found="no route", hint="check")

    monkeypatch.setattr(files, "download", unreachable)
    target = tmp_path / "weights.pth"
    url = WeightFile("torchvision", "x", "tag", Url("https://example.org/w.pth", target, None))
    with pytest.raises(WeightsError) as caught:
        fetch_weights(url)
    offline = missing_error(url).problems[0].hint
    assert caught.value.problems[0].hint == f"check; or {offline}"
    assert str(target) in offline
