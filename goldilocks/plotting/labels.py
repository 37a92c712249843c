"""Names of things, as figures and the page show them."""

from __future__ import annotations

GPT2_SIZES = {"gpt2": "GPT-2 small", "gpt2-medium": "GPT-2 medium", "gpt2-large": "GPT-2 large", "gpt2-xl": "GPT-2 XL"}
"""OpenAI's four GPT-2, which are told apart from checkpoints that a run surveys."""
