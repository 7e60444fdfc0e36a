"""Extremely randomised trees as plain arrays: grown by scikit-learn, stored and evaluated without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
LEAF = -1
ARRAYS = ("roots", "column", "number", "right")


@dataclass(frozen=True)
class Growth:
    """How trees are grown: how many, the share of the columns tried at a split, the least rows of a leaf."""

    trees: int = 200
    columns_tried: float = 0.6
    smallest_leaf: int = 2


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees in one row, each tree depth first.

    roots [t]: the first node of each tree. column [k]: which column a node asks, LEAF for a leaf. number [k]: the
    threshold (at most it: go to the next node), or a leaf's value. right [k]: where to go otherwise, from the root.
    """

    roots: Integers
    column: Integers
    number: Floats
    right: Integers

    @classmethod
    def grow(
        cls, descriptors: Floats, targets: Floats, grown_on: npt.NDArray[np.bool_], how: Growth, seed: int
    ) -> Forest:
        """One tree for each row of targets [t, n], on descriptors [n, d], from the rows that `grown_on` [t, n] names.

        Geurts, Ernst, Wehenkel, Machine Learning 63, 3 (2006).
        """
        from sklearn.tree import ExtraTreeRegressor

        seeds = np.random.default_rng(seed).integers(2**31, size=len(targets))
        trees = [
            ExtraTreeRegressor(
                max_features=how.columns_tried, min_samples_leaf=how.smallest_leaf, random_state=int(state)
            ).fit(descriptors[rows], values[rows])
            for values, rows, state in zip(targets, grown_on, seeds, strict=True)
        ]
        return cls.of(trees)

    @classmethod
    def of(cls, trees: Iterable[Any], step: float = 1.0) -> Forest:
        """The nodes of fitted regression trees of scikit-learn, their values multiplied by `step`."""
        roots, columns, numbers, rights = [], [], [], []
        count = 0
        for tree in trees:
            nodes = tree.tree_
            leaf = nodes.children_left == -1
            roots.append(count)
            columns.append(np.where(leaf, LEAF, nodes.feature))
            numbers.append(np.where(leaf, step * nodes.value[:, 0, 0], nodes.threshold))
            rights.append(nodes.children_right)
            count += len(leaf)
        # As they are stored, so that the file gives exactly these trees back.
        number = np.concatenate(numbers).astype(np.float32).astype(np.float64)
        return cls(np.array(roots), np.concatenate(columns), number, np.concatenate(rights))

    def values(self, descriptors: Floats) -> Floats:
        """[t, n], what each tree says of each row of descriptors [n, d]."""
        # Trees are grown on single precision; a row equal to a threshold must fall on the same side here.
        rows = descriptors.astype(np.float32)
        node = np.repeat(self.roots[:, None], len(rows), axis=1)
        which = np.arange(len(rows))[None, :]
        while True:
            column = self.column[node]
            inside = column != LEAF
            if not inside.any():
                return self.number[node]
            goes_on = rows[which, np.maximum(column, 0)] <= self.number[node]
            further = np.where(goes_on, node + 1, self.roots[:, None] + self.right[node])
            node = np.where(inside, further, node)

    def arrays(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Everything needed to make it again, in the smallest types that hold it."""
        return {
            "roots": self.roots.astype(np.int32),
            "column": self.column.astype(np.int16),
            "number": self.number.astype(np.float32),
            "right": self.right.astype(np.int16),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Forest:
        """The inverse of `arrays`."""
        roots, column, right = (arrays[k].astype(np.int64) for k in ("roots", "column", "right"))
        return cls(roots, column, arrays["number"].astype(np.float64), right)
