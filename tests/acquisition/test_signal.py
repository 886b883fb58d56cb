"""The signal equation, term by term."""

import math

import pytest
import torch

from dlqsm.acquisition.signal import central_differences, ernst_signal, gradient_echo, slab_profile


@pytest.mark.parametrize(
    ("density", "t1_s", "expected"),
    [(0.70, 0.86, 0.0925), (0.82, 1.35, 0.0847), (0.76, 0.95, 0.0945), (1.0, 4.2, 0.045)],
)
def test_ernst_signal_of_white_and_grey_matter_pallidum_and_csf(density, t1_s, expected):
    signal = ernst_signal(torch.tensor(density), torch.tensor(t1_s), 30.2e-3, 15.0)
    assert float(signal) == pytest.approx(expected, rel=0.02)


def test_ernst_angle_is_the_maximum_and_nothing_gives_nothing():
    t1_s, tr_s = torch.tensor(1.0), 30e-3
    best = math.degrees(math.acos(math.exp(-tr_s / 1.0)))
    signal = [float(ernst_signal(torch.tensor(1.0), t1_s, tr_s, best + d)) for d in (-1, 0, 1)]
    assert signal[1] > max(signal[0], signal[2])
    assert float(ernst_signal(torch.tensor(0.0), torch.tensor(0.0), tr_s, 15.0)) == 0.0


def test_echo_decays_turns_and_dephases():
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    steps = torch.zeros(3, 1, dtype=torch.float64)
    echo = gradient_echo(2 * one, 20 * one, 30 * one, steps, 0.4 * one, 5e-3)
    assert (
        abs(complex(echo) - 2 * math.exp(-0.1) * complex(math.cos(0.4 + 0.3 * math.pi), math.sin(0.4 + 0.3 * math.pi)))
        < 1e-12
    )
    half_turn = torch.tensor([[100.0], [0.0], [0.0]], dtype=torch.float64)
    assert abs(complex(gradient_echo(one, zero, zero, half_turn, zero, 5e-3))) == pytest.approx(2 / math.pi)
    assert abs(complex(gradient_echo(one, zero, zero, 2 * half_turn, zero, 5e-3))) < 1e-12


def test_dephasing_in_a_cell_is_the_mean_of_many_small_cells():
    steps, te = torch.tensor([[60.0], [-25.0], [40.0]], dtype=torch.float64), 10e-3
    place = (torch.arange(200, dtype=torch.float64) + 0.5) / 200 - 0.5
    phase = [torch.exp(2j * math.pi * float(step) * te * place).mean() for step in steps[:, 0]]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    echo = gradient_echo(one, zero, zero, steps, zero, te)
    assert complex(echo) == pytest.approx(complex(phase[0] * phase[1] * phase[2]), abs=1e-4)


def test_differences_of_a_ramp():
    x = torch.arange(6.0).reshape(-1, 1, 1).expand(6, 5, 4)
    steps = central_differences(3 * x)
    assert steps.shape == (3, 6, 5, 4)
    assert bool((steps[0] == 3).all())
    assert bool((steps[1:] == 0).all())


def test_slab_profile_is_flat_inside_and_zero_at_the_ends():
    profile = slab_profile(200, 0.05, torch.zeros(()))
    assert float(profile[0]) < 0.01
    assert float(profile[10:190].min()) == pytest.approx(1.0)
    torch.testing.assert_close(profile, profile.flip(0))
    assert bool((slab_profile(8, 0.0, torch.zeros(())) == 1).all())
