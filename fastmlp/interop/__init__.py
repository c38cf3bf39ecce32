"""Models from and to scikit-learn, and to ONNX."""

from fastmlp.interop.onnx_export import register_onnx_converter, to_onnx
from fastmlp.interop.scikit_learn import from_sklearn, to_sklearn

__all__ = ["from_sklearn", "register_onnx_converter", "to_onnx", "to_sklearn"]
