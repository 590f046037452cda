"""Hard-core bosons on a square lattice in two-sublattice mean field: phases at (n, T).

The model of local electron pairs,

    H = -t sum_<ij> (b+_i b_j + h.c.) + V sum_<ij> n_i n_j,

reviewed by Micnas, Ranninger and Robaszkiewicz, Rev. Mod. Phys. 62, 113 (1990). A hard-core boson
is a pseudo-spin 1/2; sublattices A and B have fillings n_A = n + m, n_B = n - m and order
parameters phi_A = <b_A>, phi_B = <b_B>. Three phases: disordered (m = phi = 0), charge-ordered
(m != 0) and superfluid (phi_A = phi_B != 0). Two versions of the model:

* `homogeneous`: the phase of lowest free energy at a given filling. For V > 2t, charge order and
  superfluid meet in a line of first-order transitions.
* `coexistence`: the Maxwell construction. Around that line the system lowers its free energy by
  separating into superfluid and charge-ordered parts of different filling.

A minimisation over m, phi_A and phi_B at fixed filling also finds a mixed phase, m and phi both
non-zero, between charge order and superfluid. Its free energy is concave in n, that is, it always
separates, so that it is in neither version.

Units: energies and temperatures in units of t (k_B = 1), coupling = V / t. Only numpy is needed and
all functions broadcast. Free energies are per site. Particles and holes are symmetric: everything
depends on d = |2n - 1|, but for a term linear in n.
"""

import enum
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NEIGHBOURS = 4  # z of the square lattice
# Bisection halves an interval of length ~1: 50 steps come close to the precision of a double.
_STEPS = 50


class Phase(enum.IntEnum):
    """The homogeneous phases."""

    DISORDERED = 0
    SUPERFLUID = 1
    CHARGE_ORDERED = 2


class State(NamedTuple):
    """The state at each point, all arrays of the same shape."""

    phase: np.ndarray  # Phase, int
    m: np.ndarray  # (n_A - n_B) / 2 >= 0
    phi: np.ndarray  # phi_A = phi_B >= 0
    free_energy: np.ndarray  # per site, units of t


class Coexistence(NamedTuple):
    """Superfluid and charge-ordered parts in equilibrium, for n < 1/2; NaN where there are none."""

    superfluid: np.ndarray  # filling of the superfluid part
    charge_ordered: np.ndarray  # filling of the charge-ordered part
    chemical_potential: np.ndarray  # df/dn of both, units of t


def charge_order_temperature(filling: ArrayLike, coupling: ArrayLike) -> np.ndarray:
    """Temperature below which the disordered phase charge-orders: T = z V n (1 - n)."""
    filling = np.asarray(filling, float)
    return NEIGHBOURS * np.asarray(coupling) * filling * (1 - filling)


def superfluid_temperature(filling: ArrayLike) -> np.ndarray:
    """Temperature below which the disordered phase condenses.

    T = z t (2n - 1) / ln(n / (1 - n)), with the limit z t / 2 at n = 1/2 and 0 at n = 0 and 1.
    """
    d = np.abs(2 * np.asarray(filling, float) - 1)
    # ln(n / (1 - n)) = 2 artanh(2n - 1); at the two ends the limits are put in by hand.
    inside = np.clip(d, 1e-9, 1 - 1e-15)
    return np.where(d < 1, NEIGHBOURS * inside / (2 * np.arctanh(inside)), 0.0)


def free_energy(
    filling: ArrayLike,
    m: ArrayLike,
    phi_a: ArrayLike,
    phi_b: ArrayLike,
    temperature: ArrayLike,
    coupling: ArrayLike,
) -> np.ndarray:
    """Mean-field free energy per site, f = -z t phi_A phi_B + (z/2) V n_A n_B - T s.

    The entropy s is that of two pseudo-spins 1/2 with Bloch vectors (2 phi, 2n - 1), averaged over
    the sublattices. Inf where a Bloch vector would be longer than 1, where no such state exists.

    Args:
        filling: n, bosons per site, in [0, 1].
        m: (n_A - n_B) / 2.
        phi_a: superfluid order parameter of sublattice A.
        phi_b: that of sublattice B.
        temperature: T >= 0 in units of t.
        coupling: V / t.

    Returns:
        f in units of t, in the broadcast shape of the arguments.
    """
    n_a, n_b = filling + np.asarray(m), filling - np.asarray(m)
    length_a = np.hypot(2 * n_a - 1, 2 * np.asarray(phi_a))
    length_b = np.hypot(2 * n_b - 1, 2 * np.asarray(phi_b))
    energy = NEIGHBOURS * (coupling * n_a * n_b / 2 - np.asarray(phi_a) * phi_b)
    value = energy - temperature * (_entropy(length_a) + _entropy(length_b)) / 2
    return np.where(np.maximum(length_a, length_b) > 1 + 1e-12, np.inf, value)


def homogeneous(filling: ArrayLike, temperature: ArrayLike, coupling: ArrayLike) -> State:
    """The phase of lowest free energy at each point.

    Args:
        filling: n in (0, 1).
        temperature: T > 0 in units of t.
        coupling: V / t > 0.

    Returns:
        The State in the broadcast shape of the arguments.
    """
    filling, temperature, coupling = _arrays(filling, temperature, coupling)
    d = np.abs(2 * filling - 1)
    zero = np.zeros_like(d)
    # One row for each Phase, in its order; where it does not exist its order parameter is zero.
    m = np.stack([zero, zero, _charge_order(d, temperature, coupling)])
    phi = np.sqrt(np.maximum(_superfluid_length(temperature) ** 2 - d**2, 0)) / 2
    phi = np.stack([zero, phi, zero])
    values = free_energy(filling, m, phi, phi, temperature, coupling)
    # The first of equals, up to rounding: a vanishing order parameter makes them all disordered.
    phase = np.argmax(values < values.min(axis=0) + 1e-13, axis=0)
    best = (np.take_along_axis(rows, phase[None], axis=0)[0] for rows in (m, phi, values))
    return State(phase, *best)


@functools.cache
def multicritical_point(coupling: float) -> tuple[float, float]:
    """Where the two lines out of the disordered phase meet, for n < 1/2.

    Charge order and superfluid touch there; the line of first-order transitions and the coexistence
    region lie below in temperature.

    Args:
        coupling: V / t > 2; at smaller ones the superfluid line is the higher one everywhere.

    Returns:
        (n, T), T in units of t.
    """

    def charge_order_first(n: np.ndarray) -> np.ndarray:
        return charge_order_temperature(n, coupling) > superfluid_temperature(n)

    n = _bisect(charge_order_first, np.float64(0.5), np.float64(0.0))
    return float(n), float(charge_order_temperature(n, coupling))


def first_order_line(temperature: ArrayLike, coupling: ArrayLike) -> np.ndarray:
    """Filling n < 1/2 at which the homogeneous state goes from superfluid to charge-ordered.

    As T -> 0 it approaches 2n - 1 = -(V - 2t) / (V + 2t), where the superfluid's energy is zero.

    Args:
        temperature: T > 0 in units of t, below that of `multicritical_point`.
        coupling: V / t > 2.

    Returns:
        n in the broadcast shape of the arguments.
    """
    temperature, coupling = _arrays(temperature, coupling)

    def charge_ordered(n: np.ndarray) -> np.ndarray:
        return homogeneous(n, temperature, coupling).phase == Phase.CHARGE_ORDERED

    half = np.full(temperature.shape, 0.5)
    return _bisect(charge_ordered, half, np.zeros_like(half))


def coexistence(temperature: ArrayLike, coupling: ArrayLike) -> Coexistence:
    """Maxwell construction between superfluid and charge order.

    The two parts have the same chemical potential and the same grand potential f - mu n. At a given
    mu both phases are known in closed form up to one unknown, and mu is found by bisection. As
    T -> 0 the superfluid part approaches |2n - 1| = sqrt((V - 2t) / (V + 2t)) and the
    charge-ordered part n = 1/2.

    Args:
        temperature: T > 0 in units of t.
        coupling: V / t.

    Returns:
        The Coexistence at each point for n < 1/2; the one for n > 1/2 is its mirror image, at
        chemical potential z V - mu.
    """
    temperature, coupling = _arrays(temperature, coupling)
    length = _superfluid_length(temperature)
    # The particle-hole symmetric part of f, as a function of d, has the slope h; in the superfluid
    # it is z t (d^2 - r^2) / 4 + z V d^2 / 8 - T s(r) with a Bloch length r that depends on T only.
    stiffness = NEIGHBOURS * (2 + coupling) / 4  # h / d
    steepest = stiffness * length

    def superfluid_potential(h: np.ndarray) -> np.ndarray:
        return (
            -(h**2) / (2 * stiffness) - NEIGHBOURS * length**2 / 4 - temperature * _entropy(length)
        )

    def charge_order_is_lower(h: np.ndarray) -> np.ndarray:
        x_a, x_b = _charge_order_at(h, temperature, coupling)
        potential = NEIGHBOURS * coupling * x_a * x_b / 8 - h * (x_a + x_b) / 2
        potential = potential - temperature * (_entropy(x_a) + _entropy(x_b)) / 2
        return potential < superfluid_potential(h)

    h = _bisect(charge_order_is_lower, np.zeros(temperature.shape), steepest)
    inner, outer = sum(_charge_order_at(h, temperature, coupling)) / 2, h / stiffness
    exists = (h > 0) & (h < steepest * (1 - 1e-9)) & (outer > inner)
    # f(n) = f(d) + (zV/4) (2n - 1) + const, and on n < 1/2 d = 1 - 2n.
    mu = NEIGHBOURS * coupling / 2 - 2 * h
    return Coexistence(
        *(np.where(exists, v, np.nan) for v in ((1 - outer) / 2, (1 - inner) / 2, mu))
    )


def _arrays(*values: ArrayLike) -> list[np.ndarray]:
    """The values as float arrays of one shape."""
    return np.broadcast_arrays(*(np.asarray(value, float) for value in values))


def _entropy(length: np.ndarray) -> np.ndarray:
    """Entropy of a pseudo-spin 1/2 whose Bloch vector has that length (its sign is immaterial)."""
    up = np.clip((1 + length) / 2, 1e-300, 1)
    down = np.clip((1 - length) / 2, 1e-300, 1)
    return -up * np.log(up) - down * np.log(down)


def _bisect(
    condition: Callable[[np.ndarray], np.ndarray], true: np.ndarray, false: np.ndarray
) -> np.ndarray:
    """The end of the range where `condition` holds, starting at `true`, elementwise."""
    for _ in range(_STEPS):
        middle = (true + false) / 2
        holds = condition(middle)
        true, false = np.where(holds, middle, true), np.where(holds, false, middle)
    return true


def _superfluid_length(temperature: np.ndarray) -> np.ndarray:
    """Bloch length r of the superfluid's pseudo-spins, 0 above T = z t / 2.

    The condition z t r = 2 T artanh(r) does not depend on the filling.
    """

    def aligns(r: np.ndarray) -> np.ndarray:
        return NEIGHBOURS * r > 2 * temperature * np.arctanh(r)

    return _bisect(aligns, np.zeros_like(temperature), np.full_like(temperature, 1 - 1e-15))


def _charge_order(d: np.ndarray, temperature: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    """The m of the charge-ordered state, 0 where there is none.

    Its stationarity condition is z V m = T (artanh(d + 2m) - artanh(d - 2m)).
    """

    def grows(y: np.ndarray) -> np.ndarray:  # y = 2m
        with np.errstate(divide="ignore"):
            restoring = np.arctanh(np.minimum(d + y, 1)) - np.arctanh(np.maximum(d - y, -1))
        return NEIGHBOURS * coupling * y / 2 > temperature * restoring

    return _bisect(grows, np.zeros_like(d), 1 - d) / 2


def _charge_order_at(h, temperature, coupling) -> tuple[np.ndarray, np.ndarray]:
    """(2n_A - 1, 2n_B - 1) of the charge-ordered state at slope h of the symmetric part of f.

    Each sublattice sees the field of the other, x_A = tanh((h - zV x_B / 4) / T): three solutions,
    the disordered one x_A = x_B in the middle. The largest x_A lies between it and 1.
    """

    def respond(x: np.ndarray) -> np.ndarray:
        return np.tanh((h - NEIGHBOURS * coupling * x / 4) / temperature)

    one = np.ones(np.shape(h))
    disordered = _bisect(lambda x: respond(x) > x, -one, one)
    x_a = _bisect(lambda x: respond(respond(x)) < x, one, disordered)
    return x_a, respond(x_a)
