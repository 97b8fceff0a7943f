"""Layers and positions: which hidden states are read.

Layers are numbered as transformers numbers `hidden_states`: 0 is the embeddings, i what the i-th block gives, and n,
the depth, what the last block gives behind the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence

from escalade.errors import SettingError

SHARES = (0.5, 0.6, 0.7, 0.8, 1.0)
"""Of the depth: the layers that are read where none are named."""


def chosen_layers(layers: Sequence[int] | None, depth: int, *, alias: str) -> tuple[int, ...]:
    """Return the layers to be read, by default those at .5, .6, .7, .8 of the depth and the last one.

    Raises:
        SettingError: there is no such layer, one is named twice, or none is.

    Example:
        >>> chosen_layers(None, 24, alias="0.5B")
        (12, 14, 17, 19, 24)
        >>> chosen_layers([0, 24], 24, alias="0.5B")
        (0, 24)
    """
    if layers is None:
        return tuple(sorted({round(share * depth) for share in SHARES}))
    known = all(type(layer) is int and 0 <= layer <= depth for layer in layers)
    if not layers or not known or len(set(layers)) < len(layers):
        raise SettingError(
            f"model {alias}: layers {list(layers)}: give one or more, each once, from 0 (embeddings) to {depth} "
            "(behind the last block)"
        )
    return tuple(layers)


def last_positions(count: int) -> tuple[int, ...]:
    """Return the last positions of a prompt, the very last one first.

    Raises:
        SettingError: there are none to be read.

    Example:
        >>> last_positions(2)
        (-1, -2)
    """
    if type(count) is not int or count < 1:
        raise SettingError(f"positions is {count!r}: how many tokens at a prompt's end are read, at least 1")
    return tuple(range(-1, -count - 1, -1))
