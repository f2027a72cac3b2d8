"""Throughput of `transferflow serve` beside the bare model's, and how long a request takes.

    python benchmarks/serving.py --clients 16 --seconds 10

The server and its clients share this machine. Both sides answer the same JPEG files with the same model in
batches of 32, in turns; prints JSON: images per second of both, their ratio, and the median and 99th
percentile of a request.
"""

from __future__ import annotations

import argparse
import io
import json
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import uvicorn
from PIL import Image

from transferflow.inference.model import answer_images
from transferflow.serving.app import ServerSettings, build_app
from transferflow.serving.holder import ModelHolder, Served
from transferflow.spec import ExperimentSpec
from transferflow.stages.split_images import eval_transform_of
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle import Bundle, load_bundle, save_bundle

BATCH = 32


def build_bundle(folder: Path) -> Bundle:
    spec = ExperimentSpec.model_validate(
        {
            "name": "bench",
            "task": {"kind": "classification"},
            "data": {"format": "image_folder", "root": ".", "image_size": 224},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        }
    )
    parts = build_parts(spec, ("a", "b"), pretrained=False)
    transform = eval_transform_of(spec, parts.preprocessing)
    save_bundle(folder, spec, ("a", "b"), transform, parts.model, min_score=None)
    return load_bundle(folder)


def jpegs(count: int) -> list[bytes]:
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        small = random.integers(0, 256, (20, 26, 3), np.uint8)
        content = io.BytesIO()
        Image.fromarray(small).resize((520, 400)).save(content, "JPEG", quality=88)
        found.append(content.getvalue())
    return found


def bare(bundle: Bundle, images: list[bytes], seconds: float) -> float:
    """Images per second of the library."""
    end, done = time.perf_counter() + seconds, 0
    started = time.perf_counter()
    while time.perf_counter() < end:
        answer_images(bundle, [("image", image) for image in images[:BATCH]])
        done += BATCH
    return done / (time.perf_counter() - started)


def served(url: str, images: list[bytes], clients: int, seconds: float) -> tuple[float, list[float]]:
    """Images per second of the server, and the time of each request."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        with httpx.Client(timeout=60) as client:
            while time.perf_counter() < end:
                start = time.perf_counter()
                image = images[number % len(images)]
                client.post(url, files=[("images", ("a.jpg", image, "image/jpeg"))]).raise_for_status()
                times.append(time.perf_counter() - start)

    started = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(times) / (time.perf_counter() - started), times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images = jpegs(64)
    with TemporaryDirectory() as folder:
        bundle = build_bundle(Path(folder))
        holder = ModelHolder(lambda: "bench", lambda: Served("bench", bundle))
        server = uvicorn.Server(uvicorn.Config(build_app(holder, ServerSettings()), port=0, log_config=None))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/predict"
        alone, together, times = [], [], []
        for _ in range(options.rounds):
            alone.append(bare(bundle, images, options.seconds))
            rate, found = served(url, images, options.clients, options.seconds)
            together.append(rate)
            times += found
        server.should_exit = True
        thread.join(10)
    print(
        json.dumps(
            {
                "bare images/s": max(alone),
                "served images/s": max(together),
                "ratio": max(together) / max(alone),
                "median ms": 1000 * float(np.median(times)),
                "p99 ms": 1000 * float(np.quantile(times, 0.99)),
                "clients": options.clients,
            }
        )
    )


if __name__ == "__main__":
    main()
