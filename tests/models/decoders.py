"""Decoders with caches of keys and values: a layer of llama's kind, and the ways to write its caches.

Each way is what some exporter or hand-written model does. A model takes tokens [1, count] and their
positions [count], and keeps its caches in buffers.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Sizes:
    vocabulary: int = 256
    width: int = 64
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    shared: int = 2  # heads of keys and values
    features: int = 16
    positions: int = 64


def rotated(x, positions):
    """Rotary positions on [batch, heads, count, features]."""
    half = x.shape[-1] // 2
    rates = 1.0 / 10000.0 ** (torch.arange(half, dtype=torch.float32) / half)
    angles = positions.float()[:, None] * rates
    sine, cosine = angles.sin(), angles.cos()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)


class Attention(nn.Module):
    def __init__(self, s: Sizes, write: str) -> None:
        super().__init__()
        self.s, self.write = s, write
        self.query = nn.Linear(s.width, s.heads * s.features, bias=False)
        self.key, self.value = (nn.Linear(s.width, s.shared * s.features, bias=False) for _ in range(2))
        self.output = nn.Linear(s.heads * s.features, s.width, bias=False)
        sizes = (1, s.positions, s.shared, s.features) if write == "custom" else (1, s.shared, s.positions, s.features)
        self.register_buffer("keys", torch.zeros(sizes))
        self.register_buffer("values", torch.zeros(sizes))

    def heads_of(self, x, count):
        return x.view(1, x.shape[1], count, self.s.features).transpose(1, 2)

    def forward(self, x, positions, mask):
        s = self.s
        q = rotated(self.heads_of(self.query(x), s.heads), positions)
        k = rotated(self.heads_of(self.key(x), s.shared), positions)
        v = self.heads_of(self.value(x), s.shared)
        if self.write == "custom":
            at = positions[0].item()
            torch._check(at >= 0)
            torch._check(at + x.shape[1] <= s.positions)
            torch.ops.llama.update_cache(k.transpose(1, 2), self.keys, at)
            torch.ops.llama.update_cache(v.transpose(1, 2), self.values, at)
            y = torch.ops.llama.custom_sdpa(q.transpose(1, 2), self.keys, self.values, at, None, 0.0, True)
            return self.output(y.reshape(1, -1, s.heads * s.features))
        for cache, rows in ((self.keys, k), (self.values, v)):
            if self.write == "index_copy":
                cache.index_copy_(2, positions, rows)
            elif self.write == "index_put":
                cache[:, :, positions] = rows
            elif self.write == "slice":
                at = positions[0].item()
                torch._check(at >= 0)
                torch._check(at + rows.shape[2] <= s.positions)
                cache.narrow(2, at, rows.shape[2]).copy_(rows)
            else:
                raise ValueError(self.write)
        keys, values = self.keys, self.values
        if s.heads != s.shared:
            keys, values = (c.repeat_interleave(s.heads // s.shared, 1) if self.write == "index_put" else
                            c[:, :, None].expand(-1, -1, s.heads // s.shared, -1, -1).reshape(
                                1, s.heads, s.positions, s.features) for c in (keys, values))
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return self.output(y.transpose(1, 2).reshape(1, -1, s.heads * s.features))


class Layer(nn.Module):
    def __init__(self, s: Sizes, write: str) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(s.width), nn.RMSNorm(s.width)
        self.attention = Attention(s, write)
        self.gate, self.up = (nn.Linear(s.width, s.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(s.hidden, s.width, bias=False)

    def forward(self, x, positions, mask):
        x = x + self.attention(self.before(x), positions, mask)
        h = self.between(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self, s: Sizes, write: str) -> None:
        super().__init__()
        self.s = s
        self.embedding = nn.Embedding(s.vocabulary, s.width)
        self.layers = nn.ModuleList(Layer(s, write) for _ in range(s.layers))
        self.norm = nn.RMSNorm(s.width)
        self.head = nn.Linear(s.width, s.vocabulary, bias=False)

    def forward(self, tokens, positions):
        x = self.embedding(tokens)
        mask = torch.arange(self.s.positions)[None, :] <= positions[:, None]
        for layer in self.layers:
            x = layer(x, positions, mask)
        return self.head(self.norm(x))


def static_cache(s: Sizes) -> nn.Module:
    """transformers' Llama with a StaticCache, as its own recipe for ExecuTorch exports it."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.integrations.executorch import TorchExportableModuleWithStaticCache

    config = LlamaConfig(
        vocab_size=s.vocabulary, hidden_size=s.width, intermediate_size=s.hidden, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, num_key_value_heads=s.shared, head_dim=s.features,
        max_position_embeddings=s.positions, use_cache=True, attn_implementation="sdpa")
    model = LlamaForCausalLM(config).eval()
    model.generation_config.cache_implementation = "static"
    model.generation_config.use_cache = True
    model.generation_config.cache_config = {"batch_size": 1, "max_cache_len": s.positions}
    model.generation_config.max_length = s.positions

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TorchExportableModuleWithStaticCache(model, batch_size=1, max_cache_len=s.positions)

        def forward(self, tokens, positions):
            return self.inner(input_ids=tokens, cache_position=positions)

    return Net()


WAYS = ("index_copy", "index_put", "slice", "custom", "static_cache")


def decoder(way: str, s: Sizes) -> nn.Module:
    torch.manual_seed(0)
    if way == "custom":
        import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401
    model = static_cache(s) if way == "static_cache" else Decoder(s, way)
    return model.eval().requires_grad_(False)
