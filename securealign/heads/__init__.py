"""Heads that were made elsewhere: files of skops, ONNX and safetensors, read without running any code of theirs."""

from __future__ import annotations

from securealign.heads.reading import read_head

__all__ = ["read_head"]
