"""The peak of this machine: GFLOP/s of fused multiply-adds, for 1 to all threads at once.

python -m benchmarks.scripts.roofline
"""

from benchmarks.suite.peak import peak_gflops
from fastmlp._engine.jit.target import target
from fastmlp._engine.threads import available_threads


def main() -> None:
    print(f"{target().name}: GFLOP/s of fused multiply-adds")
    for dtype in ("float32", "float64"):
        for threads in range(1, available_threads(None) + 1):
            print(f"{dtype}, threads {threads:3d}: {peak_gflops(dtype, threads):8.0f}")


if __name__ == "__main__":
    main()
