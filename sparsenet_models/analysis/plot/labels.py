"""Texts beside points, where they cover least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Label = tuple["Axes", float, float, str]
"""A text beside the point (x, y) of some axes."""


def place_labels(figure: Figure, labels: Sequence[Label]) -> None:
    """Write each text beside its point, on the side where it covers least of what is drawn already."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # which gives the axes their final place
    near, point = 9, figure.dpi / 72
    sides = [
        *((near, 0, "left", "center"), (-near, 0, "right", "center")),
        *((0, near, "center", "bottom"), (0, -near, "center", "top")),
        *((near, near, "left", "bottom"), (near, -near, "left", "top")),
        *((-near, near, "right", "bottom"), (-near, -near, "right", "top")),
        *((0, 2 * near, "center", "bottom"), (0, -2 * near, "center", "top")),
    ]
    taken: list[Bbox] = []
    for axes, x, y, _ in labels:
        middle = axes.transData.transform((x, y))
        taken.append(Bbox([middle - 6 * point, middle + 6 * point]))

    def covered_area(box: Bbox, axes: Axes) -> float:
        """Return the area that a box shares with others, and that it has outside its axes."""
        shared = [Bbox.intersection(box, other) for other in taken]
        inside = Bbox.intersection(box, axes.bbox)
        return (
            sum(part.width * part.height for part in shared if part is not None)
            + box.width * box.height
            - (inside.width * inside.height if inside is not None else 0.0)
        )

    for axes, x, y, text in labels:
        candidates: list[tuple[float, int, Any, Bbox]] = []
        for right, up, horizontal, vertical in sides:
            label = axes.annotate(
                text,
                (x, y),
                (right, up),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=9.5,
            )
            label.set_in_layout(False)
            box = label.get_window_extent()
            candidates.append((covered_area(box, axes), len(candidates), label, box))
        *_, best, box = min(candidates)
        taken.append(box)
        for *_, label, _ in candidates:
            if label is not best:
                label.remove()
