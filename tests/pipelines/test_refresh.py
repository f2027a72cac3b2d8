from pathlib import Path

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from transferflow.pipelines.refresh import refresh
from transferflow.pipelines.summary import look_page

from transferflow.stages.context import RunContext
from transferflow.stages.refresh.decide import DataChange, RefreshDecision
from transferflow.stages.refresh.look import Look
from transferflow.store.locks import KeyLock


def test_a_page_says_decision_reason_and_what_is_new():
    change = DataChange(100, added=3, changed=3, new_per_class={"a|b": 1, "c": 2})
    page = look_page("my-spec", Look(RefreshDecision("train", "3 added: enough"), change, is_news=True))
    assert page.startswith("# my-spec: train\n\n3 added: enough")
    assert "| added | 3 |" in page
    assert page.endswith("| c | 2 |\n| a\\|b | 1 |")


@pytest.mark.slow
def test_it_trains_rests_and_stops(project, client, tmp_path):
    rule = "deployment: {refresh: {poll: '0 * * * *', settle_minutes: 0.0}}\n"
    spec = project / "fresh.yaml"
    spec.write_text(Path("tiny.yaml").read_text().split("deployment:")[0].replace("tiny", "fresh") + rule)
    home = tmp_path / "home"

    def run():
        return refresh(spec="fresh.yaml", home=str(home), return_state=True)

    with KeyLock(home, "refresh", "fresh").hold():
        assert run().name == "Busy"
    first = run()
    assert (first.name, "trained again, PROMOTE" in first.message) == ("Completed", True), first.message
    rests = run()
    assert (rests.type.value, rests.name) == ("COMPLETED", "NothingToDo")
    assert RunContext(home).registry.champion("fresh").version == 1

    gone = sorted((project / "data").rglob("*.png"))[:10]
    content = {file: file.read_bytes() for file in gone}
    for file in gone:
        file.unlink()
    stopped = run()
    for file, data in content.items():
        file.write_bytes(data)
    assert stopped.type.value == "FAILED"
    assert "10 of 36 images are gone" in stopped.message
    pages = client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["fresh-refresh"]))
    )
    titles = sorted(page.data.splitlines()[0] for page in pages)
    assert titles == ["# fresh: nothing", "# fresh: stop", "# fresh: train"]
