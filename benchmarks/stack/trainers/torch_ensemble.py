"""An ensemble by `torch.func`: stacked parameters, `vmap` of the gradient, one vectorised AdamW over the stack.

As PyTorch's tutorial on model ensembling has it, with training added: each model has its own batches and its own clip.
Attention by products and a softmax: `vmap` has no rule for the fused one on CPU and would call it model by model.
"""

import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.stack.problem import Problem
from benchmarks.stack.trainers.torch_loop import adamw, device, module_of, step_with, synchronize


class TorchEnsemble:
    quantum = 1

    def __init__(self, problem: Problem, models: int, threads: int):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.problem = problem
        self.models = models
        self.device = device()
        self.tokens = torch.from_numpy(problem.task.train_tokens_NxS).to(self.device)
        modules = [module_of(problem, seed).to(self.device) for seed in range(models)]
        self.params, _ = stack_module_state(modules)
        self.module = modules[0].to("meta")
        self.optimizer = adamw(problem, self.params.values())
        self.grads_of = vmap(grad(self._loss), randomness="different")
        self.step = 0

    def train(self, steps: int) -> None:
        self.module.train()
        examples = [torch.from_numpy(self.problem.examples(k, self.step, steps)) for k in range(self.models)]
        for examples_KxB in torch.stack(examples, dim=1).to(self.device):
            params = {name: value.detach() for name, value in self.params.items()}
            grads = self.grads_of(params, self.tokens[examples_KxB].long())
            scale_K = clip_scale(grads, self.problem.optimizer.clip)
            for name, param in self.params.items():
                param.grad = grads[name] * scale_K.view(-1, *[1] * (param.dim() - 1))
            step_with(self.optimizer, self.problem.learning_rate(self.step))
            self.step += 1
        synchronize(self.device)

    @torch.no_grad()
    def held_out_losses(self) -> list[float]:
        self.module.eval()
        tokens = torch.from_numpy(self.problem.task.held_out.tokens_NxS).long().to(self.device)
        return vmap(self._loss, in_dims=(0, None))(self.params, tokens).tolist()

    def _loss(self, params: dict, tokens_BxS):
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(self.module, params, (tokens_BxS,))


def clip_scale(grads: dict, limit: float):
    """[K]: what each model's gradient is multiplied with, by its own global norm."""
    squares_K = sum(value.flatten(1).square().sum(dim=1) for value in grads.values())
    return (limit / (squares_K.sqrt() + 1e-6)).clamp(max=1.0)
