"""Explicit SIMD: what LLVM is told, instruction by instruction."""
