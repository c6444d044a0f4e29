"""Distillation: a student learns the softened logits of a trained net beside the labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.transforms import resolve_data_config
from ..factory import create_model


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) at temperature T, a mean over the batch, in nats.

    Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
    the factor T^2 keeps the size of the gradient at any temperature.

    Args:
        logits: ``(B, classes)`` of the student.
        teacher_logits: ``(B, classes)``.
        temperature: T, by which both are divided.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class Teacher:
    """A trained net that classifies the student's images.

    Args:
        name: ``architecture.tag`` with weights.
        class_names: the student's classes, in its order.
        mean: of each channel, with which the student's images are normalised.
        std: likewise.
        device: of the net and the images.

    Raises:
        ValueError: there are no such weights, or they are for other classes.
    """

    def __init__(
        self,
        name: str,
        class_names: tuple[str, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> None:
        model = create_model(name, pretrained=True)
        labels: tuple[str, ...] | None = model.pretrained_cfg.get("label_names")  # type: ignore[operator, union-attr]
        if labels is None or set(labels) != set(class_names):
            raise ValueError(
                f"distill names {name!r}, which has other classes than the data's {len(class_names)}, "
                f"{class_names[0]!r} to {class_names[-1]!r}"
            )
        self.order = torch.tensor([labels.index(name) for name in class_names], device=device)
        config = resolve_data_config(model)
        teacher_mean, teacher_std, student_mean, student_std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1)
            for values in (config["mean"], config["std"], mean, std)
        )
        self.scale, self.shift = student_std / teacher_std, (student_mean - teacher_mean) / teacher_std
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` in the student's order, for its images ``(B, C, H, W)``."""
        return self.model(images * self.scale + self.shift)[:, self.order].float()
