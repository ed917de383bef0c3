r"""The part of `images.py` that runs in the peers' environment; it knows nothing of fromnoise.

    python benchmarks/images_peer.py diffusers DATA.npy OUT.npz --minutes 24 --n-samples 1000

Trains a U-Net of about four million parameters on the uint8 images of DATA.npy, ``(n, 28, 28)``:
diffusers' UNet2DModel with the loss of DDPM (Ho 2020; 1,000 linear steps, noise prediction), drawn
by DDIM in 50 steps; or torchcfm's UNetModelWrapper with exact optimal-transport flow matching,
drawn by 50 Euler steps. Both: batches of 64, AdamW at 2e-4 after 50 steps of warm-up, gradients
clipped to norm 1, weights averaged. Minutes are of processor time.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn

BATCH, RATE, WARM_UP, STEPS = 64, 2e-4, 50, 50


class Diffusers:
    r"""diffusers: noise prediction, and DDIM."""

    name = "diffusers"

    def __init__(self) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.network = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(48, 96, 144),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=16,
        )
        self.noising, self.sampler = DDPMScheduler(), DDIMScheduler()

    def loss(self, x: Tensor) -> Tensor:
        r"""Return L_simple of a batch."""
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (len(x),), device=x.device)
        seen = self.noising.add_noise(x, noise, t)
        return nn.functional.mse_loss(self.network(seen, t).sample, noise)

    def draw(self, network: nn.Module, z: Tensor) -> Tensor:
        r"""Return images of noise."""
        self.sampler.set_timesteps(STEPS)
        for t in self.sampler.timesteps:
            z = self.sampler.step(network(z, t).sample, t, z).prev_sample
        return z


class TorchCFM:
    r"""torchcfm: exact optimal-transport flow matching, and Euler steps."""

    name = "torchcfm"

    def __init__(self) -> None:
        from torchcfm.conditional_flow_matching import (
            ExactOptimalTransportConditionalFlowMatcher,
        )
        from torchcfm.models.unet.unet import UNetModelWrapper

        self.network = UNetModelWrapper(
            dim=(1, 28, 28),
            num_channels=64,
            num_res_blocks=1,
            channel_mult=[1, 2, 2],
            attention_resolutions="14",
            num_heads=4,
        )
        self.matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)

    def loss(self, x: Tensor) -> Tensor:
        r"""Return the flow matching loss of a batch."""
        where = self.matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        t, seen, velocity = where
        return nn.functional.mse_loss(self.network(t, seen), velocity)

    def draw(self, network: nn.Module, z: Tensor) -> Tensor:
        r"""Return images of noise."""
        for k in range(STEPS):
            z = z + network(torch.full((len(z),), k / STEPS), z) / STEPS
        return z


def trained(
    peer: Diffusers | TorchCFM, x: Tensor, seconds: float, clock: Callable[[], float]
) -> tuple[nn.Module, int]:
    r"""Return the averaged network after so much time, and how many steps that was."""
    average = copy.deepcopy(peer.network).requires_grad_(False)
    optimiser = torch.optim.AdamW(peer.network.parameters(), lr=RATE)
    step, end = 0, clock() + seconds
    while clock() < end:
        rows = x[torch.randint(len(x), (BATCH,))]
        loss = peer.loss(rows)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(peer.network.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step))
        for mean, now in zip(average.parameters(), peer.network.parameters(), strict=True):
            mean.lerp_(now.detach(), 1 - decay)
        if step % 50 == 0:
            print(peer.name, step, f"{loss.item():.4f}", flush=True)
        step += 1
    return average.eval(), step


def main() -> None:
    r"""Train, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=["diffusers", "torchcfm"])
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--n-samples", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.from_numpy(np.load(given.data))[:, None].float() / 127.5 - 1
    peer = Diffusers() if given.peer == "diffusers" else TorchCFM()
    network, steps = trained(peer, x, 60 * given.minutes, time.process_time)
    began, images = time.process_time(), []
    with torch.no_grad():
        for start in range(0, given.n_samples, BATCH):
            z = torch.randn(min(BATCH, given.n_samples - start), 1, 28, 28)
            images.append(peer.draw(network, z))
    seconds = time.process_time() - began
    drawn = ((torch.cat(images).clamp(-1, 1) + 1) * 127.5).round().byte()[:, 0].numpy()
    about = {
        "steps": steps,
        "sample_seconds": seconds * 1000 / given.n_samples,
        "parameters": sum(p.numel() for p in network.parameters()),
        "version": f"{given.peer} {version(given.peer)}, torch {torch.__version__}",
    }
    np.savez(given.out, images=drawn, about=json.dumps(about))


if __name__ == "__main__":
    main()
