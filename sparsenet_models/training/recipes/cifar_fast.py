"""For a GPU and nets from a million parameters: 40 epochs, two thirds of them at 16 and 24 pixels.

sparsenet_bc_100_k24, seed 0, `--cuda-graphs`, bfloat16 on one NVIDIA H100: error 6.25% on CIFAR-10 after 196
seconds; 25.65% on CIFAR-100 with `--resolution 16:7,24:15,32:12 --cutout 0` after 165. docs/runs has the
logs.

After the speed records on CIFAR-10 (airbench, arXiv 2404.00498; hlb-CIFAR10): a short linear schedule, strong
decay, cutout; no average of the weights, which only lags behind a rate that falls to 0.
"""

OPTIONS = dict(
    resolution=((16, 8), (24, 18), (32, 14)),
    batch_size=256,
    lr=0.4,
    warmup=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    cutout=8,
    augment_until=0.9,
)
