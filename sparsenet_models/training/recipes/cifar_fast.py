"""For a GPU and nets from a million parameters: 90 epochs; not run here yet.

A starting point for tuning, after the speed records on CIFAR-10 (airbench, arXiv 2404.00498; hlb-CIFAR10):
large batch, short linear schedule, strong decay, cutout, averaged weights.
"""

OPTIONS = dict(
    epochs=90,
    batch_size=512,
    lr=0.8,
    warmup=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    cutout=8,
    augment_until=0.9,
    ema_decay=0.999,
    ema_start=0.5,
)
