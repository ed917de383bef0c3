r"""The part of `vae.py` that runs in pythae's environment; it knows nothing of fromnoise.

    python benchmarks/vae_peer.py DATA.npz OUT.json --epochs 10 --seconds 60

Trains pythae's VAE with its own multilayer perceptron (784-512-16, ReLU, a sigmoid at the end),
observation noise of variance 1, on the float images of DATA.npz.
"""

import argparse
import json
import logging
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig

logging.disable(logging.WARNING)


def trained(train: np.ndarray, batch: int, epochs: int, rate: float) -> tuple[Any, float]:
    r"""Return pythae's model after so many epochs, and the seconds they took."""
    images = torch.from_numpy(train)[:, None]
    rows = BaseDataset(images, torch.zeros(len(images)))
    model = VAE(VAEConfig(input_dim=(1, *train.shape[1:]), latent_dim=16))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=batch,
            learning_rate=rate,
            keep_best_on_train=True,
            no_cuda=True,
        )
        trainer = BaseTrainer(model=model, train_dataset=rows, training_config=config)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return trainer.model.eval(), seconds


def main() -> None:
    r"""Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--scored", type=int, default=1000)
    given = parser.parse_args()
    data = np.load(given.data)
    train, test = data["train"], torch.from_numpy(data["test"][: given.scored])[:, None]
    times = [
        trained(train, given.batch, given.epochs, given.rate)[1] for _ in range(given.repeats)
    ]
    epochs = max(1, round(given.seconds / (min(times) / given.epochs)))
    model, seconds = trained(train, given.batch, epochs, given.rate)
    with torch.no_grad():
        began = time.perf_counter()
        log_p = model.get_nll(test, n_samples=given.draws, batch_size=given.draws)
        scoring = time.perf_counter() - began
    found = {
        "version": version("pythae"),
        "images_per_second": [len(train) * given.epochs / t for t in times],
        "seconds": seconds,
        "epochs": epochs,
        "bound": float(log_p),  # what get_nll returns is log p(x), not its negative
        "score_ms_an_image": 1000 * scoring / len(test),
    }
    Path(given.out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
