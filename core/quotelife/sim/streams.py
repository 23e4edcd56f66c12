"""Random numbers by name: every cause in the simulation draws from a stream of its own.

Adding a draw to one cause then leaves all other causes as they were, and one seed names the whole run.
"""

from zlib import crc32

import numpy as np

_BLOCK = 4096


class RandomStream:
    """Scalar draws of one named stream.

    Drawn from numpy in blocks: a scalar call to a ``Generator`` costs several times a list's ``pop``.
    Equal (seed, name) give equal draws, whatever other streams do.
    """

    __slots__ = ("_exponentials", "_generator", "_normals", "_uniforms")

    def __init__(self, seed: int, name: str) -> None:
        # crc32 and not hash(): the built-in differs from process to process.
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=(crc32(name.encode()),))
        self._generator = np.random.Generator(np.random.PCG64(sequence))
        self._uniforms: list[float] = []
        self._normals: list[float] = []
        self._exponentials: list[float] = []

    def uniform(self) -> float:
        """Uniform in [0, 1)."""
        try:
            return self._uniforms.pop()
        except IndexError:
            self._uniforms = self._generator.random(_BLOCK).tolist()
            return self._uniforms.pop()

    def normal(self) -> float:
        """Normal with mean 0 and variance 1."""
        try:
            return self._normals.pop()
        except IndexError:
            self._normals = self._generator.standard_normal(_BLOCK).tolist()
            return self._normals.pop()

    def exponential(self) -> float:
        """Exponential with mean 1."""
        try:
            return self._exponentials.pop()
        except IndexError:
            self._exponentials = self._generator.standard_exponential(_BLOCK).tolist()
            return self._exponentials.pop()
