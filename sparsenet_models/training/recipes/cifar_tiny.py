"""For a CPU and nets of 100,000 parameters: 39 epochs, most of them at 16 and 24 pixels.

sparsenet_bc_40_k12, seed 0: error 9.98% on CIFAR-10 after 57 minutes on 2 cores of an AMD EPYC with
AVX-512 BF16 (seeds 1 and 2, from norm biases of 1: 10.64% and 11.32%), 39.49% on CIFAR-100;
densenet_bc_40_k12 8.48% and 31.56%; resnet_20 8.74% and sparse_resnet_20 9.28% on CIFAR-10. docs/runs has
the logs. It underfits: no smoothing, little decay, no averaging (which only lags behind a rate that falls
to 0).
"""

OPTIONS = dict(
    resolution=((16, 24), (24, 9), (32, 6)),
    batch_size=128,
    lr=0.3,
    warmup=0.1,
    weight_decay=1e-4,
)
