"""A real server, asked by a real HTTP client."""

import asyncio
import base64
import contextlib
import io
import json
import logging
import re
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

import transferflow as tf
from transferflow.errors import RegistryError
from transferflow.evaluation.attribution import compute_attribution, tint_images
from transferflow.inference.sources import Failure
from transferflow.models.layers import Preprocessing
from transferflow.serving.app import ServerSettings, build_app
from transferflow.serving.as_json import answer_json
from transferflow.serving.batcher import BatchSettings, BusyError, MicroBatcher
from transferflow.serving.explain import explain_image
from transferflow.serving.holder import ModelHolder, Served
from transferflow.tasks.bundle import load_bundle

LIMIT = 200_000
JSON = {"content-type": "application/json"}


def png(width=40, height=30, seed=0):
    content = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def name():
    """Which model goes by the name: changed by the test of reloading, and set back."""
    return {"now": "classification"}


@pytest.fixture(scope="module")
def holder(bundles, name):
    def load():
        if name["now"] not in bundles:
            raise RegistryError("no such model")
        return Served(name["now"], load_bundle(bundles[name["now"]]))

    return ModelHolder(lambda: name["now"], load)


@pytest.fixture(scope="module")
def client(holder):
    """A client of a server on a free port."""
    settings = ServerSettings(
        max_bytes=LIMIT, max_pixels=10_000, batch=BatchSettings(8, 20.0), refresh_seconds=0.1
    )
    server = uvicorn.Server(uvicorn.Config(build_app(holder, settings), port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def forms(*images):
    return [("images", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]


def test_an_upload_and_base64_get_the_answer_of_the_library(client, bundles):
    images = [png(seed=1), png(50, 60, seed=2)]
    expected = tf.load_model(bundles["classification"], device="cpu").predict(images)
    uploaded = client.post("/predict", files=forms(*images))
    encoded = [base64.b64encode(image).decode() for image in images]
    posted = client.post("/predict", json={"images": [encoded[0], f"data:image/png;base64,{encoded[1]}"]})
    assert uploaded.status_code == posted.status_code == 200
    assert uploaded.json() == posted.json()
    assert uploaded.json()["model"] == "classification"
    for one, answer in zip(uploaded.json()["predictions"], expected, strict=True):
        assert one["labels"] == list(answer.labels)
        assert one["probabilities"] == pytest.approx(dict(answer.probabilities), abs=1e-5)


def test_what_can_not_be_read_is_said_beside_what_can(client):
    found = client.post("/predict", files=forms(png(), b"no image")).json()["predictions"]
    assert "labels" in found[0]
    assert found[1] == {"error": "the file is not an image, or of an unknown kind"}
    alone = client.post("/predict", files=forms(b""))
    assert (alone.status_code, alone.json()["predictions"][0]["error"]) == (422, "the file is empty")


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (
            {"content": b"x" * (LIMIT + 1), "headers": JSON},
            413,
            "larger than",
        ),
        ({"content": b"{", "headers": JSON}, 422, "no JSON"),
        ({"content": b"[" * 9999, "headers": JSON}, 422, "no JSON"),
        ({"json": {"images": [1]}}, 422, "a list of image files in base64"),
        ({"json": {"images": []}}, 422, "there is no image"),
        ({"json": {"images": ["@@@"]}}, 422, "is no base64"),
        ({"json": ["x"]}, 422, "a list of image files"),
        ({"json": {"images": [""] * 65}}, 413, "at most 64 images"),
        ({"content": b"hello"}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, "multipart"),
        ({"data": {"images": "x"}, "files": {}}, 415, "multipart/form-data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_good_request_is_refused_in_words(client, request_, status, said):
    response = client.post("/predict", **request_)
    assert response.status_code == status
    assert said in response.json()["error"]


def test_a_body_that_says_nothing_of_its_size_has_an_end_too(client):
    chunks = iter([b"x" * 50_000] * 10)
    headers = {"content-type": "application/json"}
    with contextlib.suppress(httpx.WriteError):  # the server may close before everything is sent
        assert client.post("/predict", content=chunks, headers=headers).status_code == 413
    assert client.get("/healthz").status_code == 200


def test_an_image_of_many_pixels_in_few_bytes_is_not_decoded(client):
    content = io.BytesIO()
    Image.new("L", (3000, 3000)).save(content, "PNG")
    assert len(content.getvalue()) < LIMIT
    found = client.post("/predict", files=forms(png(), content.getvalue())).json()["predictions"]
    assert found[1] == {"error": "the image has more than 10000 pixels"}


def test_it_says_how_it_is_and_what_it_did(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["model"]) == (200, "classification")
    client.post("/predict", files=forms(png()))
    assert client.get("/a/path/that/nobody/has").json() == {"error": "Not Found"}
    text = client.get("/metrics").text
    assert 'transferflow_model{identity="classification"} 1.0' in text
    assert re.search(r'transferflow_requests_total\{method="POST",path="/predict",status="200"\} \d', text)
    assert 'path="other",status="404"' in text
    assert "nobody" not in text


def test_the_heat_map_is_of_the_class_that_is_answered(client, bundles):
    image = png(seed=3)
    (answer,) = client.post("/predict", files=forms(image)).json()["predictions"]
    found = client.post("/explain", files=forms(image)).json()
    assert found["model"] == "classification"
    assert found["caption"].startswith(f"looked at for {answer['labels'][0]} (Grad-CAM, ")
    bundle = load_bundle(bundles["classification"])
    view = np.array(Image.open(io.BytesIO(base64.b64decode(found["heat_png"]))))
    assert view.shape == (*bundle.transform.image_size, 3)
    shown = bundle.transform(np.array(Image.open(io.BytesIO(image))))[None]
    expected = compute_attribution(bundle.model, shown, [bundle.classes.index(answer["labels"][0])])
    normal = Preprocessing(mean=bundle.transform.mean, std=bundle.transform.std)
    assert np.abs(view - tint_images(shown, expected.heat, normal)[0].astype(int)).max() <= 1
    again = client.post("/predict", files=forms(image)).json()["predictions"][0]
    assert again == answer  # nothing stays hooked into the model


def test_what_can_not_be_explained_is_said(client, bundles):
    two = client.post("/explain", files=forms(png(), png()))
    assert (two.status_code, "one image" in two.json()["error"]) == (413, True)
    assert client.post("/explain", files=forms(b"no image")).status_code == 422
    found = explain_image(load_bundle(bundles["detection"]), png())
    assert (found.heat_png, "no heat map for detection" in found.caption) == (None, True)


def test_the_page_brings_all_that_it_needs(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "Drop an image" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_each_request_has_an_id_in_its_answer_and_in_the_log(client, caplog):
    with caplog.at_level(logging.INFO, logger="transferflow.serving"):
        mine = client.get("/healthz", headers={"x-request-id": "trace-7"}).headers["x-request-id"]
        bad = client.get("/healthz", headers={"x-request-id": "a b\tforged"}).headers["x-request-id"]
    assert mine == "trace-7"
    assert re.fullmatch(r"[0-9a-f]{32}", bad)
    assert re.search(r"serve: trace-7 GET /healthz 200 [\d.]+ ms", caplog.text)
    assert "forged" not in caplog.text


def test_images_of_many_clients_are_answered_together(client):
    def ask(seed, found):
        found[seed] = client.post("/predict", files=forms(png(seed=seed))).json()["predictions"][0]

    found: dict[int, object] = {}
    threads = [threading.Thread(target=ask, args=(seed, found)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = {seed: client.post("/predict", files=forms(png(seed=seed))).json() for seed in range(8)}
    for seed, one in found.items():
        expected = alone[seed]["predictions"][0]
        assert one["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    sizes = re.findall(r'batch_images_bucket\{le="(\d+)\.0"\} (\d+)', client.get("/metrics").text)
    counts = {int(le): int(count) for le, count in sizes}
    assert list(counts) == [2**power for power in range(7)]
    assert counts[1] < counts[8]  # some batches held more than one image


def test_another_model_takes_over_when_the_name_leads_to_it(client, name, caplog):
    def wait_for(model):
        deadline = time.monotonic() + 10
        while client.get("/readyz").json()["model"] != model and time.monotonic() < deadline:
            time.sleep(0.05)
        return client.post("/predict", files=forms(png())).json()

    name["now"] = "regression"
    assert isinstance(wait_for("regression")["predictions"][0]["value"], float)
    name["now"] = "gone"
    time.sleep(0.5)
    assert client.get("/readyz").json()["model"] == "regression"  # the old one stays
    assert "the model stays regression: no such model" in caplog.text
    name["now"] = "classification"
    assert "labels" in wait_for("classification")["predictions"][0]
    assert "transferflow_reloads_total 2.0" in client.get("/metrics").text


def test_boxes_and_masks_are_plain_json(bundles):
    (boxes,) = tf.load_model(bundles["detection"], device="cpu").predict(png())
    found = json.loads(json.dumps(answer_json(boxes)))
    assert (found["width"], found["height"]) == (40, 30)
    assert [one["label"] for one in found["boxes"]] == list(boxes.labels)
    (mask,) = tf.load_model(bundles["segmentation"], device="cpu").predict(png())
    found = answer_json(mask)
    decoded = np.array(Image.open(io.BytesIO(base64.b64decode(found["mask_png"]))))
    np.testing.assert_array_equal(decoded, mask.mask)


def test_a_full_queue_refuses_and_a_failing_batch_fails_alone():
    async def scene():
        calls = []

        def answer(images):
            calls.append(len(images))
            if b"bad" in images:
                raise ValueError("broken")
            return [Failure("image", image.decode()) for image in images]

        batcher = MicroBatcher(answer, BatchSettings(images=2, wait_ms=1.0, queue=3))
        with pytest.raises(BusyError):
            await batcher.submit([b"x"] * 4)
        running = asyncio.create_task(batcher.run())
        found = await batcher.submit([b"1", b"2", b"3"])
        with pytest.raises(ValueError, match="broken"):
            await batcher.submit([b"bad"])
        again = await batcher.submit([b"4"])
        running.cancel()
        return [one.reason for one in (*found, *again)], calls

    reasons, calls = asyncio.run(scene())
    assert reasons == ["1", "2", "3", "4"]
    assert max(calls) == 2
