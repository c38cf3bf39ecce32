"""Explicit SIMD: code that emits LLVM instructions."""
