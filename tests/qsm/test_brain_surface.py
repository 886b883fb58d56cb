import numpy as np
import pytest

from dlqsm.qsm.brain_surface import fill_surface, head_threshold, icosphere


@pytest.mark.parametrize("n", [0, 1, 3])
def test_icosphere_is_a_closed_sphere_with_outward_triangles(n):
    vertices, faces = icosphere(n)
    assert (len(vertices), len(faces)) == (10 * 4**n + 2, 20 * 4**n)
    assert np.allclose(np.linalg.norm(vertices, axis=1), 1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    # Each edge is walked once in either direction: closed, and all triangles turn the same way.
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert set(map(tuple, edges)) == set(map(tuple, edges[:, ::-1]))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = (np.cross(a, b) * c).sum() / 6
    assert 2.5 < volume < 4 * np.pi / 3
    assert ((np.cross(b - a, c - a) * a).sum(1) > 0).all()


def test_filled_sphere_has_the_volume_of_the_sphere():
    vertices, faces = icosphere(3)
    size = np.array([1.0, 1.0, 2.0])
    filled = fill_surface(25.0 + 18.0 * vertices, faces, (52, 52, 26), size)
    # Voxels that the surface passes through count: half a voxel more than the ball.
    assert abs(filled.sum() * 2.0 / (4 / 3 * np.pi * 18.5**3) - 1) < 0.06
    assert filled[25, 25, 12]


def test_a_surface_that_leaves_the_array_is_closed_at_its_face():
    vertices, faces = icosphere(3)
    filled = fill_surface(np.array([15.0, 15.0, 0.0]) + 10.0 * vertices, faces, (31, 31, 20), np.ones(3))
    assert filled[15, 15, 0]
    assert filled[15, 15, 5]
    assert not filled[15, 15, 15]
    assert abs(filled.sum() / (2 / 3 * np.pi * 10.5**3) - 1) < 0.15


def test_head_threshold_lies_between_air_and_head():
    rng = np.random.default_rng(1)
    image = np.concatenate([np.abs(rng.normal(0, 2, 7000)), rng.normal(50, 8, 3000)])
    assert 8 < head_threshold(image) < 25
