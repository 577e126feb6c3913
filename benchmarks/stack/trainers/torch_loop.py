"""One model after the other in PyTorch, eager or compiled: what a user of nanoGPT would run.

nanoGPT's model and loop (one projection for q, k and v, `scaled_dot_product_attention`, fused AdamW, the learning rate
set at each step, `torch.compile` of the model), less its biases in norms and attention, with the training set on the
device.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.stack.problem import FF_MULTIPLE, NORM_EPSILON, Problem, Weights, initial_weights

PEAK_REPEATS = 4


class Attention(nn.Module):
    def __init__(self, problem: Problem):
        super().__init__()
        self.heads = problem.heads
        self.qkv = nn.Linear(problem.width, 3 * problem.width, bias=False)
        self.out = nn.Linear(problem.width, problem.width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(width, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, problem: Problem):
        super().__init__()
        width = problem.width
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPSILON, bias=False)
        self.attention = Attention(problem)
        self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPSILON, bias=False)
        self.up = nn.Linear(width, FF_MULTIPLE * width)
        self.down = nn.Linear(FF_MULTIPLE * width, width)
        self.dropout = nn.Dropout(problem.dropout)

    def forward(self, x):
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh")))


class Transformer(nn.Module):
    """`forward(tokens [B, S])` is the mean loss over the labels that are no padding."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.pad = problem.task.pad
        self.embed = nn.Embedding(problem.task.vocabulary, problem.width)
        self.positions = nn.Embedding(problem.positions, problem.width)
        self.blocks = nn.ModuleList(Block(problem) for _ in range(problem.layers))
        self.final_norm = nn.LayerNorm(problem.width, eps=NORM_EPSILON, bias=False)

    def forward(self, tokens):
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        x = self.embed(inputs) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.final_norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=self.pad)


class TorchLoop:
    models = 1
    quantum = 1

    def __init__(self, problem: Problem, threads: int, compiled: bool, seed: int = 0):
        torch.set_num_threads(threads)
        self.device = device()
        self.problem = problem
        self.seed = seed
        torch.manual_seed(seed)
        self.tokens = torch.from_numpy(problem.task.train_tokens_NxS).to(self.device)
        self.module = module_of(problem, seed).to(self.device)
        if compiled:
            torch.compiler.reset()  # or after eight widths it would give up compiling them anew, and be eager
        self.loss_of = torch.compile(self.module) if compiled else self.module
        self.optimizer = adamw(problem, self.module.parameters())
        self.step = 0

    def train(self, steps: int) -> None:
        self.module.train()
        examples_CxB = torch.from_numpy(self.problem.examples(self.seed, self.step, steps)).to(self.device)
        for examples_B in examples_CxB:
            self.loss_of(self.tokens[examples_B].long()).backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), self.problem.optimizer.clip)
            step_with(self.optimizer, self.problem.learning_rate(self.step))
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
        synchronize(self.device)

    @torch.no_grad()
    def held_out_losses(self) -> list[float]:
        self.module.eval()
        tokens = torch.from_numpy(self.problem.task.held_out.tokens_NxS).long().to(self.device)
        return [float(self.module(tokens))]


class TorchPeak:
    """Large products on all cores or on the GPU, for the machine's best rate; `PEAK_REPEATS` of them are a step."""

    models = 1
    quantum = 1

    def __init__(self, problem: Problem, threads: int):
        torch.set_num_threads(threads)
        self.flops = 2.0 * problem.peak_side**3 * PEAK_REPEATS
        self.matrix = torch.randn(problem.peak_side, problem.peak_side, device=device())

    def train(self, steps: int) -> None:
        for _ in range(steps * PEAK_REPEATS):
            self.matrix @ self.matrix
        synchronize(self.matrix.device)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


def step_with(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """One step of the optimizer at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()


def adamw(problem: Problem, params) -> torch.optim.AdamW:
    config = problem.optimizer
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(params, config.lr, betas, config.epsilon, weight_decay=config.weight_decay, fused=True)


def module_of(problem: Problem, seed: int) -> Transformer:
    """The model of `seed` with vsweep's initial weights."""
    module = Transformer(problem)
    state = {name: torch.from_numpy(array.copy()) for name, array in _state(initial_weights(problem, seed)).items()}
    module.load_state_dict(state)
    return module


def _state(weights: Weights) -> dict:
    """Linear layers hold [out, in]."""
    state = {
        "embed.weight": weights.embed,
        "positions.weight": weights.positions,
        "final_norm.weight": weights.final_norm,
    }
    for index, layer in enumerate(weights.layers):
        qkv = torch.cat([torch.tensor(part.T) for part in (layer.query, layer.key, layer.value)]).numpy()
        block = {
            "attention_norm.weight": layer.attention_norm,
            "attention.qkv.weight": qkv,
            "attention.out.weight": layer.out.T,
            "mlp_norm.weight": layer.mlp_norm,
            "up.weight": layer.up.T,
            "up.bias": layer.up_bias,
            "down.weight": layer.down.T,
            "down.bias": layer.down_bias,
        }
        state |= {f"blocks.{index}.{name}": array for name, array in block.items()}
    return state
