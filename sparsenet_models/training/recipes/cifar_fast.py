"""For a GPU and nets from a million parameters: 44 epochs, two thirds of them at 16 and 24 pixels.

After the speed records on CIFAR-10 (airbench, arXiv 2404.00498; hlb-CIFAR10): large batch, short linear
schedule, strong decay, cutout.
"""

OPTIONS = dict(
    resolution=((16, 13), (24, 15), (32, 16)),
    batch_size=256,
    lr=0.4,
    warmup=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    cutout=8,
    augment_until=0.9,
)
