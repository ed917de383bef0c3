r"""VAE against a bare training loop and against pythae, on Fashion-MNIST.

    python benchmarks/vae.py --peer-python PEER/bin/python [--seconds 60] [--epochs 10]

PEER is an environment with torch and pythae. All three train the same multilayer perceptron,
784-512-16-512-784 with ReLU, on the same float images in [0, 1], the same batches of 128, Adam at
1e-3 (ours: AdamW on the library's schedule), on the CPU. The bounds are log-likelihoods in nats
of the same held-out images, from the same number of importance draws; ours has one variance set
to its optimum, pythae's is 1. Speeds are the best of the repeats. Prints Markdown tables.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fromnoise as fn

K, HIDDEN = 16, 512


def networks() -> tuple[nn.Module, nn.Module]:
    r"""Return encoder and decoder, freshly initialised."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * K)
    )
    decoder = nn.Sequential(
        nn.Linear(K, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784), nn.Unflatten(1, (1, 28, 28))
    )
    return encoder, decoder


def ours(budget: str, given: argparse.Namespace, precision: str = "float32") -> fn.VAE:
    r"""Return a VAE with those networks, not fitted."""
    return fn.VAE(
        network=networks(),
        latent_dim=K,
        budget=budget,
        batch_size=given.batch,
        learning_rate=1e-3,
        precision=precision,
        n_importance_score=given.draws,
        device="cpu",
        random_state=0,
    )


def our_speed(train: np.ndarray, given: argparse.Namespace, precision: str) -> float:
    r"""Return images a second in training, validation included."""
    steps = given.epochs * len(train) // given.batch
    model = ours(f"{steps} steps", given, precision).fit(train)
    return steps * given.batch / model.fit_seconds_


def bare_speed(train: np.ndarray, given: argparse.Namespace, precision: str) -> float:
    r"""Return images a second of a hand-written loop over a tensor in memory."""
    x, (encoder, decoder) = torch.from_numpy(train)[:, None], networks()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    began, seen = time.perf_counter(), 0
    for _ in range(given.epochs):
        for index in torch.randperm(len(x)).split(given.batch):
            batch = x[index]
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = bare_loss(encoder, decoder, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(batch)
    return seen / (time.perf_counter() - began)


def bare_loss(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> Tensor:
    r"""Return the mean over images of ½ ‖x − x̂‖² + KL."""
    mean, log_variance = encoder(x).float().chunk(2, dim=1)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    error = 0.5 * (x - decoder(z).float()).square().flatten(1).sum(1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    return (error + kl).mean()


def scored(model: fn.VAE, test: np.ndarray, precision: str) -> tuple[float, float]:
    r"""Return the mean bound and the milliseconds an image took."""
    model.set_params(precision=precision).score_samples(test[:64])  # warm
    began = time.perf_counter()
    bound = model.score(test)
    return bound, 1000 * (time.perf_counter() - began) / len(test)


def peer(train: np.ndarray, test: np.ndarray, given: argparse.Namespace) -> dict[str, Any]:
    r"""Run pythae in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data.npz", Path(folder) / "out.json"
        np.savez(data, train=train, test=test)
        script = Path(__file__).with_name("vae_peer.py")
        command = [given.peer_python, str(script), str(data), str(out)]
        for name in ("batch", "epochs", "repeats", "seconds", "draws"):
            command += [f"--{name}", str(getattr(given, name))]
        command += ["--scored", str(given.peer_scored)]
        quiet = {**os.environ, "TQDM_DISABLE": "1"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=quiet)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer-python", help="interpreter that imports pythae; without it, ours only"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of training for the bounds")
    parser.add_argument("--epochs", type=int, default=10, help="for the speed of training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--scored", type=int, default=10_000)
    parser.add_argument("--peer-scored", type=int, default=1000, help="it takes one at a time")
    given = parser.parse_args()
    X = fn.data.load("fashion-mnist").X.astype(np.float32) / 255
    train, test = X[: given.rows], X[60_000 : 60_000 + given.scored]
    print(
        f"fromnoise {version('fromnoise')}, torch {version('torch')},"
        f" {torch.get_num_threads()} threads\n"
    )

    speeds: dict[str, list[float]] = {}
    for _ in range(given.repeats):
        for precision in ("float32", "bfloat16"):
            speeds.setdefault(f"bare loop, {precision}", []).append(
                bare_speed(train, given, precision)
            )
            speeds.setdefault(f"fromnoise, {precision}", []).append(
                our_speed(train, given, precision)
            )
    theirs = peer(train, test, given) if given.peer_python else None
    if theirs:
        speeds[f"pythae {theirs['version']}, float32"] = theirs["images_per_second"]
    print("| training | images a second |\n|---|---|")
    for name, values in speeds.items():
        print(f"| {name} | {max(values):,.0f} |")

    model = ours(f"{given.seconds}s", given).fit(train)
    few = test[: given.peer_scored]
    print(f"\n| {given.draws} draws | bound, nats | ms an image |\n|---|---|---|")
    for precision in ("float32", "bfloat16"):
        bound, cost = scored(model, test, precision)
        print(f"| fromnoise, {precision}, {len(test)} images | {bound:.2f} | {cost:.3f} |")
    bound, cost = scored(model, few, "float32")
    print(f"| fromnoise, float32, {len(few)} images | {bound:.2f} | {cost:.3f} |")
    if theirs:
        name = f"pythae {theirs['version']}, {len(few)} images"
        print(f"| {name} | {theirs['bound']:.2f} | {theirs['score_ms_an_image']:.3f} |")
        print(
            f"\npythae trained {theirs['seconds']:.1f} s ({theirs['epochs']} epochs), fromnoise",
            end=" ",
        )
    print(f"{model.fit_seconds_:.1f} s ({model.n_steps_} steps).")


if __name__ == "__main__":
    main()
