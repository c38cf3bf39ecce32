"""How scripts print times, ratios and tables."""


def in_units(seconds: float) -> str:
    """A time with three figures, in seconds, milliseconds or microseconds."""
    scale, unit = next(
        (scale, unit)
        for least, scale, unit in ((1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "us"))
        if seconds >= least
    )
    return f"{seconds * scale:#.3g}".rstrip(".") + f" {unit}"


def in_times(ratio: float) -> str:
    """A ratio, with two figures where that is a small one."""
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def aligned_table(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table whose columns are aligned; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    padded = [
        [text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
