"""A plot of two growing lines as SVG, without a library."""

Point = tuple[int, float]
_W, _H, _LEFT, _BOTTOM = 640, 360, 60, 40


def drawing(title: str, series: dict[str, list[Point]]) -> str:
    """The points of each series, joined; a dashed line shows growth in proportion from the first point of each."""
    most_x = max(x for points in series.values() for x, _ in points)
    most_y = 1.1 * max(y for points in series.values() for _, y in points)

    def at(x: float, y: float) -> str:
        return f"{_LEFT + x / most_x * (_W - _LEFT - 20):.1f},{_H - _BOTTOM - y / most_y * (_H - _BOTTOM - 40):.1f}"

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{_W}" height="{_H}" fill="white"/>',
        f'<text x="{_W // 2}" y="20" text-anchor="middle" font-size="14">{title}</text>',
        f'<polyline points="{at(0, most_y)} {at(0, 0)} {at(most_x, 0)}" fill="none" stroke="black"/>',
    ]
    for x, _ in next(iter(series.values())):
        across, down = at(x, 0).split(",")
        out.append(f'<text x="{across}" y="{float(down) + 16:.0f}" text-anchor="middle">{x:,}</text>')
    out.append(
        f'<text x="{_LEFT - 6}" y="{at(0, most_y / 1.1).split(",")[1]}" text-anchor="end">{most_y / 1.1:.2f} s</text>'
    )
    for number, ((name, points), colour) in enumerate(zip(series.items(), ("#1f6feb", "#d9480f"), strict=False)):
        line = " ".join(at(x, y) for x, y in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        first_x, first_y = points[0]
        steady = f"{at(first_x, first_y)} {at(most_x, first_y * most_x / first_x)}"
        out.append(f'<polyline points="{steady}" fill="none" stroke="{colour}" stroke-dasharray="4 4"/>')
        out.append(f'<text x="{_LEFT + 12}" y="{52 + 16 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])
