r"""A transformer over overlapping patches, for images of any height, width and channels.

An image is cut into windows of twice the patch size, one a patch; each becomes a token, blocks
of attention and perceptrons mix them (Peebles & Xie 2023: normalisation whose scale and shift
come from time and condition, residual branches that start at zero), and each token paints a
window of the result. Windows overlap by half and are added with weights that sum to one, so
that no seam shows at a patch border. Sides that the patch does not divide are padded.
"""

__all__ = ["PatchTransformer"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromnoise.networks.layers import ConditionEmbedding, TimeEmbedding, Zero


class PatchTransformer(nn.Module):
    r"""Maps ``(n, C, H, W)``, a time and a condition to ``(n, C, H, W)``.

    Args:
        shape: (C, H, W).
        patch: Side of a patch in pixels; even, or 1.
        width: Length of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        condition: Embedding of y; None if unconditional.

    Example:
        >>> net = PatchTransformer((3, 9, 7), patch=2, width=32, depth=1, heads=2)
        >>> net(torch.zeros(5, 3, 9, 7), torch.zeros(5)).shape
        torch.Size([5, 3, 9, 7])
    """

    blend: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        if patch > 1 and patch % 2:
            raise ValueError(f"patch must be 1 or even, got {patch}.")
        channels, height, width_px = shape
        self.shape, self.patch = shape, patch
        self.rows, self.columns = -(-height // patch), -(-width_px // patch)
        self.window = 2 * patch if patch > 1 else 3
        self.margin = (self.window - patch) // 2
        pixels = channels * self.window**2
        self.time, self.condition = TimeEmbedding(width), condition
        self.first = nn.Linear(pixels, width)
        self.position = nn.Parameter(torch.randn(self.rows * self.columns, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = Zero(width, pixels)
        self.register_buffer("blend", 1 / self._add(self._ones(pixels)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        e = self.time(t)
        if self.condition is not None:
            e = e + self.condition(y)
        h = self.first(self._cut(x)) + self.position  # (n, tokens, width)
        for block in self.blocks:
            h = block(h, e)
        return self._add(self.last(self.norm(h))) * self.blend

    def _ones(self, pixels: int) -> Tensor:
        return torch.ones(1, self.rows * self.columns, pixels)

    def _padded(self) -> tuple[int, int]:
        return self.rows * self.patch, self.columns * self.patch

    def _cut(self, x: Tensor) -> Tensor:
        (_, height, width), (full_h, full_w) = self.shape, self._padded()
        x = functional.pad(x, (0, full_w - width, 0, full_h - height))
        windows = functional.unfold(x, self.window, padding=self.margin, stride=self.patch)
        return windows.transpose(1, 2)  # (n, tokens, pixels)

    def _add(self, tokens: Tensor) -> Tensor:
        _, height, width = self.shape
        image = functional.fold(
            tokens.transpose(1, 2),
            self._padded(),
            self.window,
            padding=self.margin,
            stride=self.patch,
        )
        return image[:, :, :height, :width]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = Zero(width, 6 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.SiLU(), nn.Linear(3 * width, width)
        )

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            self.modulation(functional.silu(e)).unsqueeze(1).chunk(6, dim=2)
        )
        h = h + gate_a * self._attention(torch.addcmul(shift_a, self.norms[0](h), 1 + scale_a))
        return h + gate_m * self.mlp(torch.addcmul(shift_m, self.norms[1](h), 1 + scale_m))

    def _attention(self, h: Tensor) -> Tensor:
        n, tokens, width = h.shape
        qkv = self.qkv(h).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (n, heads, tokens, width / heads) each
        return self.out(_mix(q, k, v).transpose(1, 2).reshape(n, tokens, width))


def _mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if q.dtype is torch.bfloat16 and q.device.type == "cpu":
        # The fused kernel's way back takes longer there than in float32.
        share = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        return share @ v
    return functional.scaled_dot_product_attention(q, k, v)
