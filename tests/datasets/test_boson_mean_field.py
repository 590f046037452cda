"""The mean-field model against its analytic limits and against a blind minimisation."""

import numpy as np
import pytest

from datasets import boson_mean_field as model
from datasets.boson_mean_field import Phase

COUPLINGS = (2.6, 3.5, 5.2)


def finest_homogeneous(n, temperature, coupling):
    """Lowest free energy at a filling over all m, phi_A and phi_B, by zooming in on a grid."""
    centre, width = np.array([0.25, 0.25, 0.25]), 0.25
    steps = np.linspace(-1, 1, 13)
    for _ in range(14):
        grid = np.meshgrid(*(c + width * steps for c in centre), indexing="ij")
        grid = np.clip(np.abs(grid), 0, 0.5)
        m = np.minimum(grid[0], min(n, 1 - n))
        values = model.free_energy(n, m, grid[1], grid[2], temperature, coupling)
        best = np.unravel_index(np.argmin(values), values.shape)
        centre = np.array([m[best], grid[1][best], grid[2][best]])
        width *= 0.6
    return values[best], centre


def bisect(condition, low, high):
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if condition(middle) else (low, middle)
    return low


@pytest.mark.parametrize("n", [0.08, 0.3, 0.5, 0.7])
def test_transition_temperatures_in_closed_form(n):
    # z = 4: kT_CO = 4 V n (1 - n); kT_SF = 4 (2n - 1) / ln(n / (1 - n)), and 2 at half filling.
    assert model.charge_order_temperature(n, 3.0) == pytest.approx(12 * n * (1 - n))
    expected = 2.0 if n == 0.5 else 4 * (2 * n - 1) / np.log(n / (1 - n))
    assert model.superfluid_temperature(n) == pytest.approx(expected)
    assert np.all(model.superfluid_temperature([0.0, 1.0]) == 0)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("n", [0.02, 0.35, 0.5, 0.65, 0.98])
def test_order_sets_in_at_the_analytic_lines(coupling, n):
    """Cooling the disordered phase, found by comparing free energies, orders at the higher line."""
    onset = bisect(lambda t: model.homogeneous(n, t, coupling).phase != Phase.DISORDERED, 0.1, 6.0)
    lines = 4 * coupling * n * (1 - n), model.superfluid_temperature(n)
    assert onset == pytest.approx(max(lines), rel=1e-5)
    phase = model.homogeneous(n, onset * 0.99, coupling).phase
    assert phase == (Phase.CHARGE_ORDERED if lines[0] > lines[1] else Phase.SUPERFLUID)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_particles_and_holes_are_symmetric(coupling):
    n, temperature = np.meshgrid(np.linspace(0.01, 0.49, 25), np.linspace(0.1, 5, 20))
    low, high = (model.homogeneous(x, temperature, coupling) for x in (n, 1 - n))
    np.testing.assert_array_equal(low.phase, high.phase)
    np.testing.assert_allclose(low.m, high.m, atol=1e-9)
    np.testing.assert_allclose(low.phi, high.phi, atol=1e-9)
    # b+ <-> b turns n into 1 - n and adds (z/2) V (1 - 2n) to the energy.
    np.testing.assert_allclose(
        high.free_energy - low.free_energy, 2 * coupling * (1 - 2 * n), atol=1e-9
    )
    assert set(np.unique(low.phase)) == set(Phase)


def test_ground_states():
    """T -> 0 at half filling: alternating sites for V > 2t, a full condensate for V < 2t."""
    ordered = model.homogeneous(0.5, 0.01, 3.0)
    assert ordered.phase == Phase.CHARGE_ORDERED
    assert ordered.m == pytest.approx(0.5)
    assert ordered.free_energy == pytest.approx(0, abs=1e-6)
    condensed = model.homogeneous(0.5, 0.01, 1.5)
    assert condensed.phase == Phase.SUPERFLUID
    assert condensed.phi == pytest.approx(0.5)
    # f = -z t phi^2 + (z/2) V n^2 = -4 / 4 + 2 * 1.5 / 4
    assert condensed.free_energy == pytest.approx(-0.25)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_blind_minimisation_finds_the_same_state_outside_coexistence(coupling, share):
    temperature = share * model.multicritical_point(coupling)[1]
    superfluid, charge_ordered, _ = model.coexistence(temperature, coupling)
    for n in (superfluid * 0.8, (charge_ordered + 0.5) / 2, 0.5):
        state = model.homogeneous(n, temperature, coupling)
        value, (m, phi_a, phi_b) = finest_homogeneous(n, temperature, coupling)
        assert -1e-9 < value - state.free_energy < 2e-5  # the grid stops short of the minimum
        assert (m, phi_a, phi_b) == pytest.approx((state.m, state.phi, state.phi), abs=2e-3)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_maxwell_construction(coupling, share):
    temperature = share * model.multicritical_point(coupling)[1]
    parts = model.coexistence(temperature, coupling)
    ends = np.array([parts.superfluid, parts.charge_ordered])
    assert 0 < ends[0] < ends[1] < 0.5

    def f(n):
        return model.homogeneous(n, temperature, coupling).free_energy

    assert list(model.homogeneous(ends, temperature, coupling).phase) == [
        Phase.SUPERFLUID,
        Phase.CHARGE_ORDERED,
    ]
    # Equal chemical potentials df/dn, equal grand potentials f - mu n.
    step = min(1e-5, (0.5 - ends[1]) / 4)
    slopes = (f(ends + step) - f(ends - step)) / (2 * step)
    mu = float(parts.chemical_potential)
    assert slopes == pytest.approx(np.array([mu, mu]), abs=2e-4)
    assert np.ptp(f(ends) - mu * ends) == pytest.approx(0, abs=1e-9)
    # The mixture is lower in between, even than a mixed phase, and the homogeneous state outside.
    tangent = f(ends[0]) - mu * ends[0]
    inside = np.linspace(*ends, 9)[1:-1]
    assert np.all(f(inside) > tangent + mu * inside + 1e-6)
    assert finest_homogeneous(ends.mean(), temperature, coupling)[0] > tangent + mu * ends.mean()
    outside = np.concatenate(
        [np.linspace(0.01, ends[0], 9)[:-1], np.linspace(ends[1], 0.99, 19)[1:]]
    )
    assert np.all(f(outside) > tangent + mu * outside)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_outside_coexistence_no_mixture_is_lower(coupling):
    """f of the homogeneous state is its own convex envelope but for the coexistence regions."""
    temperature = 0.7 * model.multicritical_point(coupling)[1]
    parts = model.coexistence(temperature, coupling)
    for low, high in [(0.005, parts.superfluid), (parts.charge_ordered, 1 - parts.charge_ordered)]:
        f = model.homogeneous(np.linspace(low, high, 400), temperature, coupling).free_energy
        assert np.all(np.diff(f, 2) > -1e-12)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_low_temperature_limits(coupling):
    # E_SF(d) = -(1 - d^2) + V (1 + d)^2 / 2 in units of t, d = 2n - 1; E_CO(n = 1/2) = 0 with
    # chemical potentials between. Tangent through (0, 0): d^2 = (V - 2) / (V + 2); zero: d itself.
    ratio = (coupling - 2) / (coupling + 2)
    parts = model.coexistence(0.02, coupling)
    assert 1 - 2 * parts.superfluid == pytest.approx(np.sqrt(ratio), abs=1e-3)
    assert parts.charge_ordered == pytest.approx(0.5, abs=1e-3)
    line = model.first_order_line(0.005, coupling)
    assert 1 - 2 * line == pytest.approx(ratio, abs=2e-3)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_everything_meets_at_the_multicritical_point(coupling):
    n, top = model.multicritical_point(coupling)
    assert top == pytest.approx(float(model.superfluid_temperature(n)), rel=1e-9)
    below = top * (1 - 1e-3)
    parts = model.coexistence(below, coupling)
    line = model.first_order_line(below, coupling)
    assert parts.superfluid < line < parts.charge_ordered
    assert (parts.superfluid, line, parts.charge_ordered) == pytest.approx((n, n, n), abs=2e-3)
    assert np.isnan(model.coexistence([top * 1.02, 2.5], coupling)).all()


def test_nothing_coexists_without_charge_order():
    assert np.isnan(model.coexistence([0.1, 1.0, 1.9], 1.8)).all()


def test_states_that_cannot_be_have_infinite_free_energy():
    assert np.isinf(model.free_energy(0.5, 0.4, 0.4, 0.4, 1.0, 3.0))
