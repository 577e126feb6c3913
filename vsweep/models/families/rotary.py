"""Rotary positions: queries and keys are turned by angles that grow with the position (Su et al. 2021, section 3.4)."""

import jax
import jax.numpy as jnp

BASE = 10_000.0


def turn(x_HxDxTxB: jax.Array) -> jax.Array:
    """Each pair (d, d + D/2) of features turned by t BASE^(-2d / D) at position t; D is even. In float32."""
    half, length = x_HxDxTxB.shape[1] // 2, x_HxDxTxB.shape[2]
    angles_DxT = BASE ** (-jnp.arange(half) / half)[:, None] * jnp.arange(length)
    cosine, sine = jnp.cos(angles_DxT)[:, :, None], jnp.sin(angles_DxT)[:, :, None]
    first, second = jnp.split(x_HxDxTxB.astype(jnp.float32), 2, axis=1)
    turned = jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=1)
    return turned.astype(x_HxDxTxB.dtype)
