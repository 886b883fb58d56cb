"""The solver of the L1 problem: fused passes and torch are one iteration, threads change nothing, steps end."""

import copy

import pytest
import torch
from small_problem import problem

from dlqsm.qsm.splitting import admm
from dlqsm.qsm.splitting.admm import Problem, State, solve, step_in_torch, step_on_cpu


def states(given: Problem, step: object, n: int) -> tuple[State, list[tuple[float, float]]]:
    """The state after n steps and the norms that each step told."""
    state, inverse = State.zero(given.field), admm._inverse(given)
    norms = [step(given, state, inverse) for _ in range(n)]  # type: ignore[operator]
    return state, [(float(a), float(b)) for a, b in norms]


def test_fused_passes_and_torch_are_the_same_iteration() -> None:
    given = problem()
    fused, told = states(given, step_on_cpu, 6)
    plain, expected = states(given, step_in_torch, 6)
    for name in ("chi", "fitted", "split", "q", "aim"):
        torch.testing.assert_close(getattr(fused, name), getattr(plain, name), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.tensor(told), torch.tensor(expected), rtol=1e-9, atol=1e-12)


def test_threads_share_slabs_without_changing_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(dtype=torch.float32)
    one, _ = states(given, step_on_cpu, 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three, _ = states(given, step_on_cpu, 4)
    assert torch.equal(one.chi, three.chi)
    assert torch.equal(one.split, three.split)


def test_the_end_is_a_point_that_no_step_leaves() -> None:
    given = problem()
    state, convergence = solve(given, State.zero(given.field), tolerance=1e-9, max_iterations=5000)
    assert convergence.converged
    before = copy.deepcopy(state)
    after, _ = solve(given, state, tolerance=0.0, max_iterations=1)
    torch.testing.assert_close(after.chi, before.chi, rtol=0.0, atol=1e-7)


def test_the_end_minimises_the_cost() -> None:
    given = problem()
    state, _ = solve(given, State.zero(given.field), tolerance=1e-9, max_iterations=5000)
    best = cost(given, state.chi)
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        nudge = 1e-3 * torch.randn(given.field.shape, generator=generator, dtype=torch.float64)
        assert cost(given, state.chi + nudge - nudge.mean()) > best


def cost(given: Problem, chi: torch.Tensor) -> float:
    """1/2 |W (D chi - b)|^2 + alpha sum M |G chi|."""
    fitted = torch.fft.irfftn(torch.fft.rfftn(chi) * given.kernel, s=chi.shape)
    data = 0.5 * (given.weights_squared * (fitted - given.field) ** 2).sum()
    gradients = [(chi.roll(-1, axis) - chi) / h for axis, h in enumerate(given.spacing)]
    return float(data + given.alpha * (given.smooth * torch.stack(gradients).abs()).sum())
