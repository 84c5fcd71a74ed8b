"""The bound of the scores' errors: held against exact rational arithmetic, for any order of adding."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine import error_bound, gpu
from som_dask.engine.error_bound import definitions, gamma_of, half_square_error, score_error
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.shifted import shift_codebook

ORDERS = ("forwards", "backwards", "pairwise", "matrix product", "fused")


def float32_score(x, w, half_norm, order):
    """``|w|^2 / 2 - x . w`` of float32 numbers, added up in float32 in some order."""
    products = [np.float32(a) * np.float32(-b) for a, b in zip(x, w, strict=True)]
    terms = [np.float32(half_norm), *products]
    if order == "matrix product":
        row = np.append(x, np.float32(1.0)).astype(np.float32)
        column = np.append(-w, half_norm).astype(np.float32)
        return (np.stack([row] * 4) @ np.stack([column] * 3, axis=1))[0, 0]
    if order == "fused":  # each product enters unrounded: one rounding a step
        total = np.float32(half_norm)
        for a, b in zip(x, w, strict=True):
            total = np.float32(float(Fraction(float(total)) - Fraction(float(a)) * Fraction(float(b))))
        return total
    if order == "backwards":
        terms = terms[::-1]
    if order == "pairwise":
        while len(terms) > 1:
            terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + terms[len(terms) // 2 * 2 :]
        return terms[0]
    total = np.float32(0.0)
    for term in terms:
        total = np.float32(total + term)
    return total


def exact(values):
    return [Fraction(float(value)) for value in values]


def true_score(sample, codebook, node, shifted, known):
    """Half the squared distance of exact numbers less ``|x|^2 / 2``, in the shifted and scaled space: a fraction."""
    scale, center = Fraction(shifted.scale), exact(shifted.center)
    total = Fraction(0)
    for j, (x, w) in enumerate(zip(sample, codebook[node], strict=True)):
        if known[j]:
            a, b = (Fraction(float(x)) - center[j]) * scale, (Fraction(float(w)) - center[j]) * scale
            total += b * b / 2 - a * b
    return total


def true_points(sample, shifted):
    """The sample in the shifted and scaled space, as fractions."""
    scale, center = Fraction(shifted.scale), exact(shifted.center)
    return [(x - c) * scale for x, c in zip(exact(sample), center, strict=True)]


CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "n_features": st.integers(1, 12),
    "size": st.sampled_from([1e-200, 1e-30, 1.0, 1e12]),
    "offset": st.sampled_from([0.0, 1.0, 1e5]),
    "far": st.sampled_from([1.0, 30.0, 1e4]),
}


def case(seed, n_features, size, offset, far):
    """A codebook of twelve nodes and a sample, more or less far from it."""
    rng = np.random.default_rng(seed)
    codebook = size * (rng.normal(size=(12, n_features)) + offset)
    return codebook, size * (far * rng.normal(size=n_features) + offset)


@given(**CASES, order=st.sampled_from(ORDERS))
def test_a_score_is_off_by_no_more_than_the_bound(seed, n_features, size, offset, far, order):
    codebook, sample = case(seed, n_features, size, offset, far)
    shifted = shift_codebook(codebook)
    points = (sample - shifted.center) * shifted.scale
    error = score_error(float(np.sqrt(np.sum(points**2))), shifted.radius, gamma_of(n_features), n_features)
    x = points.astype(np.float32)
    for node in range(12):
        w, half_norm = shifted.shifted[node].astype(np.float32), shifted.half_norms[node]
        found = Fraction(float(float32_score(x, w, half_norm, order)))
        true = true_score(sample, codebook, node, shifted, np.ones(n_features, dtype=bool))
        assert abs(found - true) <= Fraction(float(error))


@given(**CASES, order=st.sampled_from(ORDERS), last=st.booleans())
def test_so_it_is_for_half_a_squared_distance(seed, n_features, size, offset, far, order, last):
    codebook, sample = case(seed, n_features, size, offset, far)
    shifted = shift_codebook(codebook)
    points = (sample - shifted.center) * shifted.scale
    norm, gamma = float(np.sqrt(np.sum(points**2))), gamma_of(n_features + 1)
    error = half_square_error(norm, shifted.radius, gamma, n_features)
    x, half = points.astype(np.float32), np.float32(np.sum(points**2) / 2)
    true_half = sum(value * value for value in true_points(sample, shifted)) / 2
    for node in range(12):
        w, half_norm = shifted.shifted[node].astype(np.float32), np.float32(shifted.half_norms[node])
        found = float32_score(x, w, half_norm, order) + half if last else float32_score(x, w, half_norm + half, order)
        true = true_half + true_score(sample, codebook, node, shifted, np.ones(n_features, dtype=bool))
        assert abs(Fraction(float(found)) - true) <= Fraction(float(error))


@given(**CASES)
def test_so_it_is_for_samples_that_lack_features(seed, n_features, size, offset, far):
    codebook, sample = case(seed, n_features, size, offset, far)
    rng = np.random.default_rng(seed + 1)
    known = rng.random(n_features) < 0.6
    known[rng.integers(n_features)] = True
    shifted = shift_codebook(codebook)
    points = np.where(known, (sample - shifted.center) * shifted.scale, 0.0)
    error = score_error(float(np.sqrt(np.sum(points**2))), shifted.radius, gamma_of(2 * n_features), n_features)
    x = np.concatenate([points, np.where(known, -0.5, 0.0)]).astype(np.float32)
    for node in range(12):
        w = np.concatenate([shifted.shifted[node], shifted.shifted[node] ** 2]).astype(np.float32)
        found = Fraction(float(float32_score(x, w, 0.0, "forwards")))
        assert abs(found - true_score(sample, codebook, node, shifted, known)) <= Fraction(float(error))


@given(**CASES)
def test_the_order_of_the_plain_rule_lies_within_the_bound(seed, n_features, size, offset, far):
    codebook, sample = case(seed, n_features, size, offset, far)
    shifted = shift_codebook(codebook)
    norm = float(np.sqrt(np.sum(((sample - shifted.center) * shifted.scale) ** 2)))
    # Without float32: what the rounding of the rule itself may make of the order of two nodes.
    error = Fraction(float(score_error(norm, shifted.radius, 0.0, n_features)))
    plain = []
    for node in codebook:
        squared = 0.0
        for x, w in zip(sample, node, strict=True):
            difference = (x - w) * shifted.scale
            squared += difference * difference
        plain.append(squared)
    true = [true_score(sample, codebook, i, shifted, np.ones(n_features, dtype=bool)) for i in range(12)]
    for i in range(12):
        for k in range(12):
            if plain[i] < plain[k]:
                assert true[i] - true[k] <= 2 * error


def test_the_bound_is_of_use(rng):
    # A bound that is never reached within a factor of a thousand would settle nearly nothing by float32.
    codebook, ratios = rng.normal(size=(12, 8)), []
    shifted = shift_codebook(codebook)
    for sample in rng.normal(size=(50, 8)):
        points = (sample - shifted.center) * shifted.scale
        error = score_error(float(np.sqrt(np.sum(points**2))), shifted.radius, gamma_of(8), 8)
        for node in range(12):
            found = float32_score(
                points.astype(np.float32),
                shifted.shifted[node].astype(np.float32),
                shifted.half_norms[node],
                "forwards",
            )
            true = true_score(sample, codebook, node, shifted, np.ones(8, dtype=bool))
            ratios.append(abs(float(Fraction(float(found)) - true)) / error)
    assert 0.01 < max(ratios) <= 1


def test_all_searches_shift_alike(rng):
    codebook = 1000 + rng.normal(size=(20, 3))
    patched, shifted = cut_into_patches(codebook, Lattice(4, 5)), shift_codebook(codebook)
    assert (patched.scale, patched.radius) == (shifted.scale, shifted.radius)
    np.testing.assert_array_equal(patched.center, shifted.center)


def test_the_gpus_source_takes_its_constants_from_here():
    source = Path(gpu.SOURCE).read_text(encoding="utf-8")
    for option in definitions():
        name = option.removeprefix("-D").partition("=")[0]
        assert name in source
        assert f"{name} =" not in source
    assert set(definitions()) <= set(gpu.compiler_options(8))


def test_the_constants_survive_the_compiler(tmp_path):
    from tests.contracts.cuda_on_host import compiler

    if compiler() is None:
        pytest.skip("there is no g++ to compile with")
    names = [option.removeprefix("-D").partition("=")[0] for option in definitions()]
    program = "#include <cstdio>\nint main() {\n"
    program += "".join(f'std::printf("%a\\n", (double)({name}));\n' for name in names) + "}\n"
    (tmp_path / "constants.cpp").write_text(program)
    subprocess.run(
        [compiler(), "-std=c++17", *definitions(), "-o", tmp_path / "constants", tmp_path / "constants.cpp"],
        check=True,
    )
    printed = subprocess.run([tmp_path / "constants"], capture_output=True, text=True, check=True).stdout.split()
    assert [float.fromhex(value) for value in printed] == [float(getattr(error_bound, name)) for name in names]
