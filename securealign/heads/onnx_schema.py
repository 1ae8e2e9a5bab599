"""ONNX files as messages, and their tensors as arrays; no graph is run."""

from __future__ import annotations

from importlib import resources
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

_SCHEMA = (resources.files(__package__) / "onnx.textproto").read_text(encoding="utf-8")
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto()))
#: The class of the messages, made from the fields that are read.
Model: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("securealign.onnx.Model"))

_STRING, _EXTERNAL = 8, 1
#: Types of tensors by their numbers: that of their bytes, and the field that holds their values instead of bytes.
_TYPES = {1: ("<f4", "float_data"), 6: ("<i4", "int32_data"), 7: ("<i8", "int64_data"), 11: ("<f8", "double_data")}


def parse_model(data: bytes) -> Any:  # noqa: ANN401 - a class made at run time
    """Return the message in a file; raises `ValueError` for bytes that are none."""
    try:
        return Model.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def array_of(tensor: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Return a tensor of float32, float64, int32, int64 or texts, in its shape.

    Raises `ValueError` for one of another type, of another size than its shape, or kept in another file.
    """
    shape = tuple(tensor.dims)
    if tensor.data_location == _EXTERNAL:
        raise ValueError(f"the tensor {tensor.name} is kept in another file; torch.onnx.export has external_data=False")
    if tensor.data_type == _STRING:
        return np.array([text.decode("utf-8") for text in tensor.string_data], dtype=object).reshape(shape)
    if tensor.data_type not in _TYPES:
        raise ValueError(f"the tensor {tensor.name} has the type {tensor.data_type}, which is not read")
    kind, field = _TYPES[tensor.data_type]
    if tensor.HasField("raw_data"):
        values = np.frombuffer(tensor.raw_data, kind) if len(tensor.raw_data) % np.dtype(kind).itemsize == 0 else None
    else:
        values = np.array(getattr(tensor, field), dtype=kind)
    if values is None or min(shape, default=1) < 0 or len(values) != prod(shape):
        raise ValueError(f"the tensor {tensor.name} is not of its shape {list(shape)}")
    return values.reshape(shape)
